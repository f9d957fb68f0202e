"""What logging costs a training, beside the same training whose `log` does nothing.

    python benches/python_training.py [--check] [--seconds 240]

Two processes train the same network on handwritten digits, on all cores, in steps of about a millisecond that each log
ten metrics. They take turns, a quarter of a second each, in an order drawn by chance; whoever waits is stopped, all of
its threads, so that its flushes and merges cannot run in the time of the other. Both are forked from one process, so
that memory lies alike in them, and every half minute two new ones follow: where arrays happen to lie makes two
processes that do the same differ by two percent. With `--check` the exit code is 1 where a limit is missed.
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
from typing import TYPE_CHECKING, Any, TextIO

# All cores, before numpy is imported; the example that it imports from would take one.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(os.cpu_count())

import numpy as np

import runlake
from table import Figure, percentile, show, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.append(str(Path(__file__).parents[3] / "examples"))
from digits import Network, Optimizer, load, norm, score

HIDDEN = 128
METRICS = 10
TURN = 0.25
LIFE = 30.0
"""So many seconds each process trains before a new one follows."""

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


def seconds_a_step(batch: int) -> float:
    """How long a step takes on this machine."""
    training = Training(batch)
    taken = []
    for _ in range(200):
        start = time.perf_counter()
        training.step()
        taken.append(time.perf_counter() - start)
    return percentile(taken, 0.5)


def background_seconds() -> float:
    """What the threads of the library have had of the processors."""
    spent = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("runlake-"):
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def trainer(training: Training, log: Callable[[dict[str, float]], None], orders: TextIO, answers: TextIO) -> None:
    """Takes as many steps as a line of its orders says, and answers how long they took."""
    for line in orders:
        start = time.perf_counter()
        for _ in range(int(line)):
            log(training.step())
        print(time.perf_counter() - start, file=answers, flush=True)


class Trainer:
    """A process that trains when it is told to, and is stopped meanwhile. With a store it logs to a run of its own."""

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
                self.live(training, store, run_id, flush_after_bytes, os.fdopen(orders[0]), os.fdopen(answers[1], "w"))
                code = 0
            finally:
                os._exit(code)
        os.close(orders[0])
        os.close(answers[1])
        self.orders, self.answers = os.fdopen(orders[1], "w"), os.fdopen(answers[0])
        self.turns: list[float] = []

    def live(
        self, training: Training, store: str, run_id: str, flush_after_bytes: int, orders: TextIO, answers: TextIO
    ) -> None:
        """What the process does from its first to its last line."""
        if not store:
            trainer(training, lambda row: None, orders, answers)
            return
        run: Any = runlake._native.Run(store=store, project="bench", id=run_id, flush_after_bytes=flush_after_bytes)
        trainer(training, run.log, orders, answers)
        print(json.dumps({**run.stats(), "background": background_seconds()}), file=answers, flush=True)
        run.end("finished", None)

    def turn(self, steps: int) -> None:
        """Lets it take so many steps."""
        os.kill(self.pid, signal.SIGCONT)
        print(steps, file=self.orders, flush=True)
        self.turns.append(float(self.answers.readline()))
        os.kill(self.pid, signal.SIGSTOP)

    def end(self) -> str:
        """Lets it end, and returns what it said."""
        self.orders.close()
        os.kill(self.pid, signal.SIGCONT)
        said = self.answers.read()
        self.answers.close()
        _, status = os.waitpid(self.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        return said


def slower(lives: list[list[tuple[float, float]]]) -> tuple[float, float, float]:
    """How much longer the one took than the other, in percent, with the 95 % interval of a bootstrap.

    It draws processes, and turns of theirs: what differs from process to process counts as well.
    """
    chance = np.random.default_rng(0)
    pairs = [np.array(life) for life in lives]

    def more(drawn: list[Any]) -> float:
        logged, forgot = np.concatenate(drawn).sum(axis=0)
        return float(logged / forgot - 1) * 100

    def again(life: Any) -> Any:
        return life[chance.integers(0, len(life), len(life))]

    drawn = [more([again(pairs[at]) for at in chance.integers(0, len(pairs), len(pairs))]) for _ in range(10_000)]
    return more(pairs), percentile(drawn, 0.025), percentile(drawn, 0.975)


def commits(store: Path, operation: str) -> int:
    """How many commits of the points did what `operation` says."""
    found = 0
    for path in (store / "tables/points/_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        found += any(action.get("commitInfo", {}).get("operation") == operation for action in actions)
    return found


def measure(store: Path, seconds: float) -> list[Figure]:
    """Lets the two take turns, and checks what was logged."""
    batch = min((16, 24, 32, 48, 64, 96, 128, 192, 256), key=lambda batch: abs(seconds_a_step(batch) - 1e-3))
    each = seconds_a_step(batch)
    steps = round(TURN / each)
    lives = max(1, round(seconds / LIFE))
    pairs = round(min(seconds, LIFE) / TURN)
    rows = lives * (pairs + 1) * steps
    flush_after_bytes = rows * LOG_BYTES // FLUSHES
    print(f"{lives} x {pairs} pairs of turns of {steps} steps of {each * 1e3:.2f} ms, {batch} images each")
    chance = random.Random(0)
    turns: list[list[tuple[float, float]]] = []
    said: dict[str, float] = {}
    for life in range(lives):
        training = Training(batch)
        for _ in range(200):
            training.step()
        # Which comes first is drawn too: the second one finds caches as the first has left them.
        both = {"lake": str(store), "nothing": ""}
        order = chance.sample(list(both), 2)
        trainers = {name: Trainer(training, both[name], f"digits-{life}", flush_after_bytes) for name in order}
        for pair in range(pairs + 1):
            for name in chance.sample(order, 2):
                trainers[name].turn(steps)
                if pair == 0:
                    trainers[name].turns.clear()
        turns.append(list(zip(trainers["lake"].turns, trainers["nothing"].turns, strict=True)))
        for name, value in json.loads(trainers["lake"].end()).items():
            said[name] = said.get(name, 0) + value
        trainers["nothing"].end()
        print(f"  {life + 1} of {lives}: {slower(turns)[0]:+.2f} % so far", file=sys.stderr)

    assert (said["rows"], said["points"], said["dropped_rows"]) == (rows, rows * METRICS, 0), said
    found = runlake.open(store).sql("select count(*), count(distinct metric), max(step) from points").fetchall()
    assert found == [(rows * METRICS, METRICS, rows // lives - 1)], found
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
