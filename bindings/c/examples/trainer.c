// Trains nothing, but logs as a trainer does: four threads, one run, labels, a column at once, and what goes wrong.
//
//   trainer LAKE        creates the lake where there is none
#include "runlake.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, STEPS = 1000, COLUMN = 5000 };

static void check(RunlakeStatus status, const char *what)
{
    if (status != RUNLAKE_OK) {
        fprintf(stderr, "%s: %s (status %d)\n", what, runlake_error(), (int)status);
        exit(1);
    }
}

struct rank {
    const RunlakeRun *run;
    int number;
};

static void *train(void *argument)
{
    const struct rank *rank = argument;
    uint32_t loss, rate, labels;
    char json[32];
    snprintf(json, sizeof json, "{\"rank\": %d}", rank->number);
    check(runlake_metric(rank->run, "train/loss", &loss), "metric");
    check(runlake_metric(rank->run, "lr", &rate), "metric");
    check(runlake_labels(rank->run, json, &labels), "labels");
    for (int64_t step = 0; step < STEPS; step++) {
        const RunlakePoint row[] = {{loss, 1.0 / (double)(1 + step)}, {rate, 0.1}};
        check(runlake_log_labelled(rank->run, step, RUNLAKE_NOW, labels, row, 2), "log");
    }
    return NULL;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s LAKE\n", arguments[0]);
        return 2;
    }

    RunlakeLake *lake = NULL;
    const RunlakeLakeOptions options = {.create = true};
    check(runlake_open(arguments[1], &options, &lake), "open");

    RunlakeRun *run = NULL;
    const char *tags[] = {"c", "example"};
    const RunlakeRunOptions about = {
        .id = "c-1",
        .name = "from C",
        .config = "{\"lr\": 0.1, \"model\": {\"layers\": 2}}",
        .tags = tags,
        .tag_count = 2,
    };
    check(runlake_start(lake, "digits", &about, &run), "start");

    pthread_t threads[THREADS];
    struct rank ranks[THREADS];
    for (int i = 0; i < THREADS; i++) {
        ranks[i] = (struct rank){run, i};
        if (pthread_create(&threads[i], NULL, train, &ranks[i]) != 0) {
            perror("pthread_create");
            return 1;
        }
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    // A metric without labels; the second value is a NaN, which is data.
    uint32_t validation;
    check(runlake_metric(run, "val/loss", &validation), "metric");
    for (int i = 0; i < 2; i++) {
        const RunlakePoint row = {validation, i == 0 ? 0.5 : (double)NAN};
        check(runlake_log(run, RUNLAKE_NEXT_STEP, &row, 1), "log");
    }

    uint32_t norm;
    double *column = malloc(COLUMN * sizeof *column);
    if (column == NULL)
        return 1;
    for (int i = 0; i < COLUMN; i++)
        column[i] = sqrt((double)i);
    check(runlake_metric(run, "grad/norm", &norm), "metric");
    check(runlake_log_many(run, norm, RUNLAKE_NO_LABELS, NULL, NULL, column, COLUMN), "log_many");
    free(column);

    // A mistake is a status with a message, and the run goes on.
    uint32_t nothing;
    if (runlake_metric(run, "", &nothing) != RUNLAKE_INVALID || strlen(runlake_error()) == 0) {
        fprintf(stderr, "an empty name was taken\n");
        return 1;
    }

    check(runlake_summary(run, "best", "{\"val/loss\": 0.5}"), "summary");
    check(runlake_sync(run), "sync");
    RunlakeStats stats;
    check(runlake_stats(run, &stats), "stats");
    check(runlake_finish(run, RUNLAKE_FINISHED, 0), "finish");
    printf("run %s: %llu points, %llu rows dropped, runlake %s\n", runlake_run_id(run),
           (unsigned long long)stats.points, (unsigned long long)stats.dropped_rows, runlake_version());
    runlake_free(run);
    runlake_close(lake);
    return 0;
}
