// What calls return when they cannot do what they are asked, and that none of them touches what it was not given. Built
// as C and as C++.
//
//   statuses FOLDER     an empty folder
#include "runlake.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Programs that were compiled once keep these numbers. One that is here stays for good, one that is gone is not used again.
static_assert(RUNLAKE_OK == 0, "");
static_assert(RUNLAKE_NO_LAKE == 1, "");
static_assert(RUNLAKE_IO == 2, "");
static_assert(RUNLAKE_CORRUPT == 3, "");
static_assert(RUNLAKE_UNSUPPORTED == 4, "");
static_assert(RUNLAKE_INVALID == 5, "");
static_assert(RUNLAKE_UNKNOWN == 6, "");
static_assert(RUNLAKE_EXPIRED == 7, "");
static_assert(RUNLAKE_DROPPED == 8, "");
static_assert(RUNLAKE_INTERNAL == 99, "");
static_assert(RUNLAKE_FINISHED == 0 && RUNLAKE_FAILED == 1 && RUNLAKE_KILLED == 2, "");

// `call` returns `expected`, and says why where that is not RUNLAKE_OK.
#define RETURNS(expected, call)                                                                       \
    do {                                                                                              \
        const RunlakeStatus got = (call);                                                             \
        if (got != (expected) || (got != RUNLAKE_OK && strlen(runlake_error()) == 0)) {               \
            fprintf(stderr, "line %d: %s: status %d, not %d: %s\n", __LINE__, #call, (int)got,        \
                    (int)(expected), runlake_error());                                                \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

static char path[4096];

static const char *below(const char *folder, const char *name)
{
    const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof path)
        exit(1);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        exit(1);
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    const char *folder = arguments[1];
    RunlakeLake *lake = NULL;

    RETURNS(RUNLAKE_NO_LAKE, runlake_open(below(folder, "nothing"), NULL, &lake));
    RETURNS(RUNLAKE_INVALID, runlake_open(NULL, NULL, &lake));
    RETURNS(RUNLAKE_INVALID, runlake_open(folder, NULL, NULL));
    RETURNS(RUNLAKE_INVALID, runlake_open("\xff", NULL, &lake));

    RunlakeLakeOptions options;
    memset(&options, 0, sizeof options);
    options.create = true;
    write_file(below(folder, "file"), "no folder");
    RETURNS(RUNLAKE_IO, runlake_open(below(folder, "file/lake"), &options, &lake));

    RETURNS(RUNLAKE_OK, runlake_open(below(folder, "damaged"), &options, &lake));
    runlake_close(lake);
    lake = NULL;
    write_file(below(folder, "damaged/LAKE"), "{}");
    RETURNS(RUNLAKE_CORRUPT, runlake_open(below(folder, "damaged"), NULL, &lake));
    if (lake != NULL)
        return 1;

    RETURNS(RUNLAKE_OK, runlake_open(below(folder, "lake"), &options, &lake));
    RunlakeRun *run = NULL;
    RunlakeRunOptions about;
    memset(&about, 0, sizeof about);
    RETURNS(RUNLAKE_INVALID, runlake_start(NULL, "p", &about, &run));
    RETURNS(RUNLAKE_INVALID, runlake_start(lake, NULL, &about, &run));
    RETURNS(RUNLAKE_INVALID, runlake_start(lake, "", &about, &run));
    RETURNS(RUNLAKE_INVALID, runlake_start(lake, "p", &about, NULL));
    about.tag_count = 1;
    RETURNS(RUNLAKE_INVALID, runlake_start(lake, "p", &about, &run));
    about.tag_count = 0;
    about.config = "[1]";
    RETURNS(RUNLAKE_INVALID, runlake_start(lake, "p", &about, &run));
    about.config = "{\"lr\": ";
    RETURNS(RUNLAKE_INVALID, runlake_start(lake, "p", &about, &run));
    about.config = NULL;
    RETURNS(RUNLAKE_OK, runlake_start(lake, "p", &about, &run));
    // The run keeps the lake open.
    runlake_close(lake);

    uint32_t metric = 0, labels = 0;
    RETURNS(RUNLAKE_INVALID, runlake_metric(NULL, "m", &metric));
    RETURNS(RUNLAKE_INVALID, runlake_metric(run, NULL, &metric));
    RETURNS(RUNLAKE_INVALID, runlake_metric(run, "m", NULL));
    RETURNS(RUNLAKE_OK, runlake_metric(run, "m", &metric));
    RETURNS(RUNLAKE_INVALID, runlake_labels(run, "{\"rank\"}", &labels));
    RETURNS(RUNLAKE_INVALID, runlake_labels(run, "3", &labels));
    RETURNS(RUNLAKE_OK, runlake_labels(run, "{\"rank\": 3}", &labels));

    const RunlakePoint row[] = {{metric, 1.0}, {metric + 1000, (double)NAN}};
    RETURNS(RUNLAKE_INVALID, runlake_log(NULL, 0, row, 1));
    RETURNS(RUNLAKE_INVALID, runlake_log(run, 0, NULL, 1));
    RETURNS(RUNLAKE_INVALID, runlake_log(run, 0, row, SIZE_MAX));
    RETURNS(RUNLAKE_INVALID, runlake_log(run, 0, row, 2));
    RETURNS(RUNLAKE_INVALID, runlake_log_labelled(run, 0, RUNLAKE_NOW, labels + 1000, row, 1));
    RETURNS(RUNLAKE_OK, runlake_log(run, 0, NULL, 0));
    RETURNS(RUNLAKE_OK, runlake_log_labelled(run, RUNLAKE_NEXT_STEP, 5, labels, row, 1));

    const double value = 1.0;
    RETURNS(RUNLAKE_INVALID, runlake_log_many(run, metric, RUNLAKE_NO_LABELS, NULL, NULL, NULL, 1));
    RETURNS(RUNLAKE_INVALID, runlake_log_many(run, metric + 1000, RUNLAKE_NO_LABELS, NULL, NULL, &value, 1));
    RETURNS(RUNLAKE_OK, runlake_log_many(run, metric, RUNLAKE_NO_LABELS, NULL, NULL, &value, 1));

    RETURNS(RUNLAKE_INVALID, runlake_config(run, NULL, "1"));
    RETURNS(RUNLAKE_INVALID, runlake_config(run, "lr", "one"));
    RETURNS(RUNLAKE_OK, runlake_config(run, "lr", NULL));
    RETURNS(RUNLAKE_INVALID, runlake_summary(NULL, "best", "1"));
    RETURNS(RUNLAKE_INVALID, runlake_sync(NULL));
    RETURNS(RUNLAKE_INVALID, runlake_stats(run, NULL));
    RETURNS(RUNLAKE_INVALID, runlake_finish(run, 3, 0));
    RETURNS(RUNLAKE_INVALID, runlake_finish(NULL, RUNLAKE_FINISHED, 0));
    RETURNS(RUNLAKE_OK, runlake_finish(run, RUNLAKE_FAILED, 7));

    RunlakeStats stats;
    RETURNS(RUNLAKE_OK, runlake_stats(run, &stats));
    printf("%llu points, %llu rows dropped\n", (unsigned long long)stats.points,
           (unsigned long long)stats.dropped_rows);
    runlake_free(run);
    runlake_free(NULL);
    runlake_close(NULL);
    return 0;
}
