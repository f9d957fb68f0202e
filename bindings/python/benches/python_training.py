"""What logging costs a training, beside the same training whose `log` does nothing.

    python benches/python_training.py [--check] [--seconds 60]

Two processes train the same network on handwritten digits, on all cores, in steps of about a millisecond that each log
ten metrics. They take turns, a quarter of a second each, in an order drawn by chance; whoever waits is stopped, all of
its threads, so that its flushes and merges cannot run in the time of the other. With `--check` the exit code is 1 where
a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# All cores, before numpy is imported; the example that it imports from would take one.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(os.cpu_count())

import numpy as np

from table import Figure, percentile, show, verdict

sys.path.append(str(Path(__file__).parents[3] / "examples"))
from digits import Network, Optimizer, load, norm, score

HIDDEN = 128
METRICS = 10
TURN = 0.25
FLUSHES = 20
"""So many flushes are made to happen: enough that segments are merged too."""

LOG_BYTES = 160
"""A row of ten in the log."""


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


def trainer(store: str, batch: int, flush_after_bytes: int) -> None:
    """One of the two processes: takes as many steps as a line of its input says, and says how long they took."""
    run: Any = None
    if store:
        import runlake

        run = runlake._native.Run(store=store, project="bench", id="digits", flush_after_bytes=flush_after_bytes)
        log = run.log
    else:

        def log(row: dict[str, float]) -> None:
            """Forgets the row."""

    training = Training(batch)
    for _ in range(200):
        training.step()
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            log(training.step())
        print(time.perf_counter() - start, flush=True)
    if run is not None:
        print(json.dumps({**run.stats(), "background": background_seconds()}), flush=True)
        run.end("finished", None)


class Trainer:
    """A process that trains when it is told to, and is stopped meanwhile."""

    def __init__(self, store: str, batch: int, flush_after_bytes: int) -> None:
        arguments = ["--trainer", store, "--batch", str(batch), "--flush-after-bytes", str(flush_after_bytes)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.turns: list[float] = []

    def turn(self, steps: int) -> None:
        """Lets it take so many steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self.turns.append(float(self.process.stdout.readline()))
        self.process.send_signal(signal.SIGSTOP)

    def end(self) -> str:
        """Lets it end, and returns what it said."""
        self.process.send_signal(signal.SIGCONT)
        said, _ = self.process.communicate()
        assert self.process.returncode == 0
        return said


def slower(logged: list[float], forgot: list[float]) -> tuple[float, float, float]:
    """How much longer the one took in all, in percent, with the 95 % interval of a bootstrap over pairs of turns."""
    pairs = np.array([logged, forgot])
    chance = np.random.default_rng(0)
    ratios = []
    for _ in range(10_000):
        drawn = pairs[:, chance.integers(0, pairs.shape[1], pairs.shape[1])].sum(axis=1)
        ratios.append((drawn[0] / drawn[1] - 1) * 100)
    whole = pairs.sum(axis=1)
    return (whole[0] / whole[1] - 1) * 100, percentile(ratios, 0.025), percentile(ratios, 0.975)


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
    pairs = round(seconds / TURN)
    flush_after_bytes = pairs * steps * LOG_BYTES // FLUSHES
    print(f"{pairs} pairs of turns of {steps} steps of {each * 1e3:.2f} ms, {batch} images each")
    lake, nothing = Trainer(str(store), batch, flush_after_bytes), Trainer("", batch, flush_after_bytes)
    chance = random.Random(0)
    for pair in range(pairs + 1):
        for one in chance.sample([lake, nothing], 2):
            one.turn(steps)
            if pair == 0:
                one.turns.clear()
    said = json.loads(lake.end())
    nothing.end()

    import runlake

    rows = (pairs + 1) * steps
    assert (said["rows"], said["points"], said["dropped_rows"]) == (rows, rows * METRICS, 0), said
    found = runlake.open(store).sql("select count(*), count(distinct metric), max(step) from points").fetchall()
    assert found == [(rows * METRICS, METRICS, rows - 1)], found
    flushes, merges = commits(store, "flush"), commits(store, "compact")
    more, low, high = slower(lake.turns, nothing.turns)
    note = f"{more:.2f} %, 95 % interval {low:.2f}..{high:.2f}"
    spent = {"in log()": said["seconds"], "in our threads": said["background"]}
    parts = ", ".join(f"{seconds / said['points'] * 1e6:.3f} {where}" for where, seconds in spent.items())
    return [
        Figure("slower than without a log, upper end", high, "%", 0.5, note),
        Figure("processor time a point", sum(spent.values()) / said["points"] * 1e6, "us", 0.3, parts),
        Figure("flushes meanwhile", flushes, "", 10, at_least=True),
        Figure("merges meanwhile", merges, "", 1, at_least=True),
    ]


def main() -> int:
    """The figures, and the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="fail where a limit is missed")
    arguments.add_argument("--seconds", type=float, default=60, help="how long each of the two trains")
    arguments.add_argument("--trainer", help=argparse.SUPPRESS)
    arguments.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--flush-after-bytes", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.trainer is not None:
        trainer(given.trainer, given.batch, given.flush_after_bytes)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "runs.lake", given.seconds)
    show("Logging ten metrics a step", figures)
    return verdict(figures, given.check)


if __name__ == "__main__":
    sys.exit(main())
