"""What logging costs a training, beside the same training whose `log` does nothing.

    python benches/python_training.py [--check] [--seconds 240]

Two processes train the same network on handwritten digits, on all cores, in steps of about a millisecond that each log
ten metrics. They take turns, a quarter of a second each, in an order drawn by chance; whoever waits is stopped, all of
its threads, so that its flushes and merges cannot run in the time of the other. Where arrays happen to lie makes two
processes that do the same differ by two percent. So they lie elsewhere in each turn, and after a quarter of a minute
the two change parts: the one that logged logs no more, and the other begins. Two new processes do the same again, until
the time is over. A clock goes on while its process is stopped, so syncs and looks of the library are twice as dear here
as in a training that nobody stops. With `--check` the exit code is 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

# All cores, before numpy is imported; the example that it imports from would take one.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(os.cpu_count())

import numpy as np

import runlake
from table import Figure, percentile, show, verdict

sys.path.append(str(Path(__file__).parents[3] / "examples"))
from digits import Network, Optimizer, load, norm, score

HIDDEN = 128
METRICS = 10
TURN = 0.25
PROCESSORS = sorted(os.sched_getaffinity(0))
PART = 15.0
"""So many seconds each process trains with a log, and as many without."""

FLUSHES = 20
"""So many flushes are made to happen: enough that segments are merged too."""

LOG_BYTES = 112
"""A row of ten in the log whose values are doubles."""


class Training:
    """A training that can be told how many steps to take."""

    def __init__(self, batch: int) -> None:
        self.images, self.classes, *_ = load()
        self.batch = batch
        self.chance = np.random.default_rng(7)
        self.network = Network([64, HIDDEN, HIDDEN, 10], self.chance)
        self.optimizer = Optimizer("adam", self.network.weights)

    def warm(self) -> None:
        """Takes steps until memory and threads are there."""
        for _ in range(200):
            self.step()
        place_threads()

    def step(self) -> dict[str, float]:
        """Trains on one batch and says what there is to log."""
        at = self.chance.integers(0, len(self.images), self.batch)
        layers, probabilities = self.network.forward(self.images[at])
        loss, accuracy = score(probabilities, self.classes[at])
        gradient = self.network.backward(layers, probabilities, self.classes[at])
        updates = self.optimizer.updates(gradient, 1e-4)
        for weight, update in zip(self.network.weights, updates, strict=True):
            weight += update
        weights_norm, update_norm = norm(self.network.weights), norm(updates)
        return {
            "train/loss": loss,
            "train/accuracy": accuracy,
            "grad/norm": norm(gradient),
            "grad/first_layer": norm(gradient[:2]),
            "grad/last_layer": norm(gradient[-2:]),
            "weights/norm": weights_norm,
            "update/norm": update_norm,
            "update/ratio": update_norm / weights_norm,
            "lr": 1e-4,
            "epoch": float(self.optimizer.steps * self.batch // len(self.images)),
        }


def batch_of_a_millisecond() -> tuple[int, float]:
    """The smallest batch whose step takes a millisecond on this machine, and what it takes."""
    for batch in range(32, 2048, 32):
        training = Training(batch)
        training.warm()
        taken = []
        for _ in range(200):
            start = time.perf_counter()
            training.step()
            taken.append(time.perf_counter() - start)
        if percentile(taken, 0.5) >= 1e-3:
            break
    return batch, percentile(taken, 0.5)


def place_threads() -> None:
    """Gives each thread of the training a processor of its own; those of the library may go where they like.

    A process that was stopped may else find two of its threads on one processor, and that for as long as a turn.
    """
    training = 0
    for task in sorted(Path("/proc/self/task").iterdir(), key=lambda task: int(task.name)):
        if (task / "comm").read_text().startswith("runlake-"):
            os.sched_setaffinity(int(task.name), PROCESSORS)
        else:
            os.sched_setaffinity(int(task.name), {PROCESSORS[training % len(PROCESSORS)]})
            training += 1


def background_seconds() -> float:
    """What the threads of the library have had of the processors."""
    spent = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("runlake-"):
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def nothing(row: dict[str, float]) -> None:
    """Logs to nowhere."""


def trainer(
    training: Training, store: str, run_id: str, flush_after_bytes: int, orders: TextIO, answers: TextIO
) -> None:
    """Does what the lines of its orders say, and answers each.

    A number is so many steps, answered by how long they took; `begin` begins a run, `end` ends it and says what it
    cost; `leave` ends the process.
    """
    # The threads of a child are new, and begin where the one that makes them is.
    os.sched_setaffinity(0, PROCESSORS)
    training.warm()
    run: Any = None
    log = nothing
    for line in orders:
        answer: Any = None
        match line.strip():
            case "begin":
                run = runlake._native.Run(store=store, project="bench", id=run_id, flush_after_bytes=flush_after_bytes)
                log = run.log
            case "end":
                answer = {**run.stats(), "background": background_seconds() - time.thread_time()}
                # What is left is flushed here, or by whoever finds it.
                run.end("finished", None)
                answer["background"] += time.thread_time()
                log = nothing
            case "leave":
                return
            case steps:
                place_threads()
                # Arrays lie elsewhere in each turn; where they happen to lie would else count for or against a log.
                shift = np.empty(training.chance.integers(0, 1 << 16), np.uint8)
                start = time.perf_counter()
                for _ in range(int(steps)):
                    log(training.step())
                answer = time.perf_counter() - start
                del shift
        print(json.dumps(answer), file=answers, flush=True)


class Trainer:
    """A process that trains when it is told to, and is stopped meanwhile."""

    def __init__(self, training: Training, store: str, run_id: str, flush_after_bytes: int) -> None:
        orders, answers = os.pipe(), os.pipe()
        with warnings.catch_warnings():
            # Python warns of forks beside threads; those of OpenBLAS, which has seen to that, are all there are.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            os.close(orders[1])
            os.close(answers[0])
            code = 1
            try:
                reads, writes = os.fdopen(orders[0]), os.fdopen(answers[1], "w")
                trainer(training, store, run_id, flush_after_bytes, reads, writes)
                code = 0
            finally:
                os._exit(code)
        os.close(orders[0])
        os.close(answers[1])
        self.orders, self.answers = os.fdopen(orders[1], "w"), os.fdopen(answers[0])

    def ask(self, order: str) -> Any:
        """Lets it do that, and returns its answer."""
        os.kill(self.pid, signal.SIGCONT)
        print(order, file=self.orders, flush=True)
        answer = json.loads(self.answers.readline())
        os.kill(self.pid, signal.SIGSTOP)
        return answer

    def end(self) -> None:
        """Lets it end."""
        print("leave", file=self.orders, flush=True)
        os.kill(self.pid, signal.SIGCONT)
        self.orders.close()
        self.answers.close()
        _, status = os.waitpid(self.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def slower(lives: list[list[Any]]) -> tuple[float, float, float]:
    """How much longer the one took than the other, in percent, with the 95 % interval of a bootstrap.

    A life is two parts, and a part pairs of turns, with a log and without. It draws lives, so that what differs from
    process to process counts, and pairs within each part.
    """
    chance = np.random.default_rng(0)
    pairs = [[np.array(part) for part in life] for life in lives]

    def more(drawn: list[Any]) -> float:
        logged, forgot = np.concatenate(drawn).sum(axis=0)
        return float(logged / forgot - 1) * 100

    def again(life: list[Any]) -> list[Any]:
        return [part[chance.integers(0, len(part), len(part))] for part in life]

    drawn = []
    for _ in range(10_000):
        some = chance.integers(0, len(pairs), len(pairs))
        drawn.append(more([part for life in some for part in again(pairs[life])]))
    return more([part for life in pairs for part in life]), percentile(drawn, 0.025), percentile(drawn, 0.975)


def commits(store: Path, operation: str) -> int:
    """How many commits of the points did what `operation` says."""
    found = 0
    for path in (store / "tables/points/_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        found += any(action.get("commitInfo", {}).get("operation") == operation for action in actions)
    return found


def measure(store: Path, seconds: float) -> list[Figure]:
    """Lets the two take turns, and checks what was logged."""
    batch, each = batch_of_a_millisecond()
    steps = round(TURN / each)
    lives = max(1, round(seconds / PART / 2))
    pairs = round(min(seconds / 2, PART) / TURN)
    rows = lives * 2 * (pairs + 1) * steps
    flush_after_bytes = rows * LOG_BYTES // FLUSHES
    print(f"{lives} x 2 x {pairs} pairs of turns of {steps} steps of {each * 1e3:.2f} ms, {batch} images each")
    chance = random.Random(0)
    turns: list[list[Any]] = []
    said: dict[str, float] = {}
    for life in range(lives):
        training = Training(batch)
        training.warm()
        both = [Trainer(training, str(store), f"digits-{life}-{part}", flush_after_bytes) for part in range(2)]
        turns.append([])
        # Which comes first is drawn too: the second one finds caches as the first has left them.
        for logging in chance.sample(both, 2):
            logging.ask("begin")
            taken = []
            for _ in range(pairs + 1):
                took = {trainer: trainer.ask(str(steps)) for trainer in chance.sample(both, 2)}
                taken.append((took.pop(logging), *took.values()))
            # The first turn begins the log.
            turns[-1].append(taken[1:])
            for name, value in logging.ask("end").items():
                said[name] = said.get(name, 0) + value
        for trainer in both:
            trainer.end()
        print(f"  {life + 1} of {lives}: {slower(turns)[0]:+.2f} % so far", file=sys.stderr)

    assert (said["rows"], said["points"], said["dropped_rows"]) == (rows, rows * METRICS, 0), said
    found = runlake.open(store).sql("select count(*), count(distinct metric), max(step) from points").fetchall()
    assert found == [(rows * METRICS, METRICS, rows // lives // 2 - 1)], found
    flushes, merges = commits(store, "flush"), commits(store, "compact")
    more, low, high = slower(turns)
    note = f"{more:.2f} %, 95 % interval {low:.2f}..{high:.2f}"
    own, ours = (said[part] / said["points"] * 1e6 for part in ("seconds", "background"))
    return [
        Figure("slower than without a log, upper end", high, "%", 0.5, note),
        Figure("processor time of our threads a point", ours, "us", 0.3, f"beside it {own:.3f} us a point in log()"),
        Figure("flushes meanwhile", flushes, "", 10, at_least=True),
        Figure("merges meanwhile", merges, "", 1, at_least=True),
    ]


def main() -> int:
    """The figures, and the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="fail where a limit is missed")
    arguments.add_argument("--seconds", type=float, default=240, help="how long each of the two trains")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "runs.lake", given.seconds)
    show("Logging ten metrics a step", figures)
    return verdict(figures, given.check)


if __name__ == "__main__":
    sys.exit(main())
