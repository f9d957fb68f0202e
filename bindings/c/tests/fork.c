// Forks again and again while four threads log: what each child logs, with threads of its own, is there, and the parent
// never notices. Prints how many rows the threads of the parent logged.
//
//   fork LAKE CHILDREN        creates the lake
#include "runlake.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Whoever waits for a lock that nobody holds is ended after the deadline.
enum { THREADS = 4, CHILD_THREADS = 2, CHILD_ROWS = 200, AT_ONCE = 3, DEADLINE_S = 120 };

static RunlakeRun *run;
static atomic_bool stop;
static atomic_long logged[THREADS];

static void check(RunlakeStatus status, const char *what)
{
    if (status != RUNLAKE_OK) {
        fprintf(stderr, "%s in process %d: %s (status %d)\n", what, (int)getpid(), runlake_error(), (int)status);
        _exit(1);
    }
}

// A metric and labels that nobody has used before: names are made while others are read.
static void name(const char *kind, int number, uint32_t *metric, uint32_t *labels)
{
    char text[64];
    snprintf(text, sizeof text, "%s/%d", kind, number);
    check(runlake_metric(run, text, metric), "metric");
    snprintf(text, sizeof text, "{\"%s\": %d}", kind, number);
    check(runlake_labels(run, text, labels), "labels");
}

static void *train(void *argument)
{
    const int thread = (int)(intptr_t)argument;
    uint32_t metric, labels;
    name("parent", thread, &metric, &labels);
    for (int64_t step = 0; !atomic_load(&stop); step++) {
        const RunlakePoint row = {metric, (double)step};
        check(runlake_log_labelled(run, step, RUNLAKE_NOW, labels, &row, 1), "log");
        atomic_store(&logged[thread], step + 1);
        if (step % 100 == 0) {
            // New names all the time; a rest, so that what is logged stays little.
            uint32_t extra;
            char text[64];
            snprintf(text, sizeof text, "extra/%d/%lld", thread, (long long)(step / 100));
            check(runlake_metric(run, text, &extra), "metric");
            const struct timespec rest = {0, 1000000};
            nanosleep(&rest, NULL);
        }
    }
    return NULL;
}

static void *train_in_child(void *argument)
{
    uint32_t metric, labels;
    name("child", (int)(intptr_t)argument, &metric, &labels);
    for (int64_t step = 0; step < CHILD_ROWS; step++) {
        const RunlakePoint row = {metric, (double)step};
        check(runlake_log_labelled(run, step, RUNLAKE_NOW, labels, &row, 1), "log in a child");
    }
    return NULL;
}

// What a child does: logs with threads of its own, and ends in one of four ways.
static void be_child(int number)
{
    alarm(DEADLINE_S);
    pthread_t threads[CHILD_THREADS];
    for (int i = 0; i < CHILD_THREADS; i++)
        if (pthread_create(&threads[i], NULL, train_in_child, (void *)(intptr_t)(number * CHILD_THREADS + i)) != 0)
            _exit(2);
    for (int i = 0; i < CHILD_THREADS; i++)
        pthread_join(threads[i], NULL);
    switch (number % 4) {
    case 0:
        _exit(0);
    case 1:
        check(runlake_sync(run), "sync in a child");
        _exit(0);
    case 2:
        runlake_free(run);
        exit(0);
    default:
        kill(getpid(), SIGKILL);
    }
}

static void wait_for_child(void)
{
    int status;
    if (wait(&status) < 0) {
        perror("wait");
        exit(1);
    }
    if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
        fprintf(stderr, "a child ended with status %#x\n", (unsigned)status);
        exit(1);
    }
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s LAKE CHILDREN\n", arguments[0]);
        return 2;
    }
    const int children = atoi(arguments[2]);
    alarm((unsigned)(DEADLINE_S + children));
    RunlakeLake *lake = NULL;
    const RunlakeLakeOptions options = {.create = true, .sync_every_ms = 10, .flush_after_bytes = 64 << 10};
    check(runlake_open(arguments[1], &options, &lake), "open");
    const RunlakeRunOptions about = {.id = "forks"};
    check(runlake_start(lake, "p", &about, &run), "start");
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, train, (void *)(intptr_t)i) != 0)
            return 1;

    for (int number = 0; number < children; number++) {
        if (number >= AT_ONCE)
            wait_for_child();
        const pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 1;
        }
        if (child == 0)
            be_child(number);
    }
    for (int number = 0; number < children && number < AT_ONCE; number++)
        wait_for_child();
    atomic_store(&stop, true);
    long rows = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        rows += atomic_load(&logged[i]);
    }
    check(runlake_finish(run, RUNLAKE_FINISHED, 0), "finish");
    printf("%ld\n", rows);
    runlake_free(run);
    runlake_close(lake);
    return 0;
}
