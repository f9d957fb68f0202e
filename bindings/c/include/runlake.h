// Runlake for C and C++: log the metrics of training runs into a directory.
//
// Every call that can fail returns a RunlakeStatus; runlake_error() has the message of the last failure of the calling
// thread. Texts are UTF-8 and end with a zero byte. Calls may come from any thread. Link librunlake.so, or librunlake.a
// with -lpthread -ldl -lm. examples/trainer.c is a whole program.


#ifndef RUNLAKE_H
#define RUNLAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// In the place of labels: none.
#define RUNLAKE_NO_LABELS UINT32_MAX

// In the place of a step: one more than the highest step of the run so far, 0 in an empty one.
#define RUNLAKE_NEXT_STEP INT64_MIN

// In the place of a time: now.
#define RUNLAKE_NOW INT64_MIN

// For `runlake_finish`: the run ended as it should.
#define RUNLAKE_FINISHED 0

// For `runlake_finish`: the run ended with an error.
#define RUNLAKE_FAILED 1

// For `runlake_finish`: the run was told to stop.
#define RUNLAKE_KILLED 2

// What a call returns: 0, or what the caller can do about it. Numbers never change their meaning; later versions may
// add some.
typedef enum {
  // Done.
  RUNLAKE_OK = 0,
  // No lake stands at the path. Name another, or create it.
  RUNLAKE_NO_LAKE = 1,
  // The operating system refused something. Fix the cause and try again.
  RUNLAKE_IO = 2,
  // A file holds bytes that this version never writes. Run `runlake verify`.
  RUNLAKE_CORRUPT = 3,
  // The lake was written by a later version. Upgrade.
  RUNLAKE_UNSUPPORTED = 4,
  // An argument cannot be used. Change the call.
  RUNLAKE_INVALID = 5,
  // A name matches nothing, or several things.
  RUNLAKE_UNKNOWN = 6,
  // Files of a snapshot are gone. Take a new one.
  RUNLAKE_EXPIRED = 7,
  // A row was not kept, and the lake is strict.
  RUNLAKE_DROPPED = 8,
  // A defect in this library. Please report it with the message.
  RUNLAKE_INTERNAL = 99,
} RunlakeStatus;

// An open lake: one directory that keeps the runs of any number of projects. May be used by any number of threads.
typedef struct RunlakeLake RunlakeLake;

// A run that this process logs to. May be used by any number of threads.
typedef struct RunlakeRun RunlakeRun;

// How a lake is opened. Fill it with zeros for the defaults: `RunlakeLakeOptions options = {0};`
typedef struct {
  // Create the lake where there is none.
  bool create;
  // Return `RUNLAKE_DROPPED` for a row that could not be kept, instead of counting it.
  bool strict;
  // Milliseconds between two syncs in the background: the most that a power cut takes. 0 for the default, 1,000.
  uint64_t sync_every_ms;
  // Bytes of log after which it is flushed to a segment. 0 for the default, 16 MiB.
  uint64_t flush_after_bytes;
} RunlakeLakeOptions;

// What is said of a run when it starts. Fill it with zeros for the defaults; every text may be null.
typedef struct {
  // The id, unique in the project; made up where it is null. An id that exists continues that run.
  const char *id;
  // The name for people; a readable one follows from the id where it is null.
  const char *name;
  // The group that the run belongs to.
  const char *group;
  // The type of job: "train", "eval".
  const char *job_type;
  // Notes.
  const char *notes;
  // The configuration: a JSON object.
  const char *config;
  // The launch: one start of a job, which may span many processes. Made up where it is null.
  const char *launch;
  // Tags, `tag_count` of them.
  const char *const *tags;
  // The number of tags.
  size_t tag_count;
} RunlakeRunOptions;

// One value of a row.
typedef struct {
  // The metric, from `runlake_metric`.
  uint32_t metric;
  // Its value. NaN and infinities are data and come back bit for bit.
  double value;
} RunlakePoint;

// What this process logged to a run so far.
typedef struct {
  // Rows that were kept.
  uint64_t rows;
  // Points that were kept.
  uint64_t points;
  // Rows that could not be kept.
  uint64_t dropped_rows;
} RunlakeStats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library, such as "0.1.0". Never freed.
const char *runlake_version(void);

// Opens the lake at `path`. `options` may be null. Free `*lake` with `runlake_close`.
//
// # Safety
// `path` is a text, `options` null or valid, `lake` a place for a pointer.
RunlakeStatus runlake_open(const char *path, const RunlakeLakeOptions *options, RunlakeLake **lake);

// Closes the lake. Its runs may still be used; its files are closed with the last of them. Null does nothing.
//
// # Safety
// `lake` is null or came from `runlake_open`, and is not used again.
void runlake_close(RunlakeLake *lake);

// Starts a run of `project`. `options` may be null. Free `*run` with `runlake_free`.
//
// # Safety
// `lake` came from `runlake_open`, `project` is a text, `options` null or valid, `run` a place for a pointer.
RunlakeStatus runlake_start(const RunlakeLake *lake,
                            const char *project,
                            const RunlakeRunOptions *options,
                            RunlakeRun **run);

// The id of the run. Valid until `runlake_free`. Null for a run that is null.
//
// # Safety
// `run` is null or came from `runlake_start`.
const char *runlake_run_id(const RunlakeRun *run);

// Gives the metric `name` (1 to 512 bytes of UTF-8) a number, for rows of any run of this lake in this process.
//
// # Safety
// `run` came from `runlake_start`, `name` is a text, `metric` a place for a number.
RunlakeStatus runlake_metric(const RunlakeRun *run,
                             const char *name,
                             uint32_t *metric);

// Gives a set of labels, a JSON object such as {"rank": 3}, a number, for rows of any run of this lake in this process.
//
// # Safety
// `run` came from `runlake_start`, `json` is a text, `labels` a place for a number.
RunlakeStatus runlake_labels(const RunlakeRun *run,
                             const char *json,
                             uint32_t *labels);

// Logs one row: `count` values of one step, now, without labels. The row is visible to every reader, and safe from a
// kill of the process, when the call returns. `step` may be `RUNLAKE_NEXT_STEP`. A row of up to 64 values costs no
// allocation, lock or system call.
//
// # Safety
// `run` came from `runlake_start`, `points` points to `count` points.
RunlakeStatus runlake_log(const RunlakeRun *run,
                          int64_t step,
                          const RunlakePoint *points,
                          size_t count);

// Logs one row at `time_us`, microseconds since 1970 (UTC) or `RUNLAKE_NOW`, with `labels` from `runlake_labels` or
// `RUNLAKE_NO_LABELS`. See `runlake_log`.
//
// # Safety
// As `runlake_log`.
RunlakeStatus runlake_log_labelled(const RunlakeRun *run,
                                   int64_t step,
                                   int64_t time_us,
                                   uint32_t labels,
                                   const RunlakePoint *points,
                                   size_t count);

// Logs `count` values of one metric. `steps` may be null: one each, from the next step on. `times_us` may be null: all
// have the time of the call.
//
// # Safety
// `run` came from `runlake_start`; `values`, and `steps` and `times_us` where they are not null, have `count` values.
RunlakeStatus runlake_log_many(const RunlakeRun *run,
                               uint32_t metric,
                               uint32_t labels,
                               const int64_t *steps,
                               const int64_t *times_us,
                               const double *values,
                               size_t count);

// Sets one top-level key of the configuration to a JSON value; null removes it.
//
// # Safety
// `run` came from `runlake_start`, `key` is a text, `json` a text or null.
RunlakeStatus runlake_config(const RunlakeRun *run, const char *key, const char *json);

// Sets one top-level key of the summary to a JSON value; null removes it, and the last value of the metric shows again.
//
// # Safety
// As `runlake_config`.
RunlakeStatus runlake_summary(const RunlakeRun *run,
                              const char *key,
                              const char *json);

// Waits until everything that this process logged so far would survive a power cut.
//
// # Safety
// `run` came from `runlake_start`.
RunlakeStatus runlake_sync(const RunlakeRun *run);

// What this process logged to the run so far.
//
// # Safety
// `run` came from `runlake_start`, `stats` is a place for them.
RunlakeStatus runlake_stats(const RunlakeRun *run, RunlakeStats *stats);

// Ends the run in one of the states above and makes it durable. Rows that are logged later are still kept.
//
// # Safety
// `run` came from `runlake_start`; `state` may be anything.
RunlakeStatus runlake_finish(const RunlakeRun *run, int32_t state, int32_t exit_code);

// Frees the handle. A run that was not finished reads as crashed once the process has ended. Null does nothing.
//
// # Safety
// `run` is null or came from `runlake_start`, and is not used again.
void runlake_free(RunlakeRun *run);

// The message of the last call of this thread that did not return `RUNLAKE_OK`, in UTF-8; empty where there was none.
// Valid until the next call of this thread fails.
const char *runlake_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RUNLAKE_H */
