"""Trains sixteen small networks on handwritten digits, four processes at a time, and watches them by SQL.

    python examples/digits.py [--store digits.lake] [--steps 16000] [--processes 4]

Each process trains configuration after configuration and logs one row of metrics a mini-batch. Meanwhile
`standings.py`, one more process, asks the same lake who is ahead. The lake stays for exploring.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

# Four processes share the cores already. Before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import runlake

PROJECT = "digits"
VALIDATE_EVERY = 10
COMMAND = os.path.relpath(Path(sys.executable).with_name("runlake"))

CONFIGS: list[dict[str, Any]] = [
    {"optimizer": {"name": name, "lr": lr}, "hidden": hidden, "batch_size": batch_size}
    for (name, lr), hidden, batch_size in itertools.product(
        [("sgd", 0.3), ("sgd", 0.03), ("adam", 0.003), ("adam", 0.0003)], [32, 128], [32, 128]
    )
]


class Network:
    """Two hidden layers with ReLU between them, softmax and cross-entropy at the end."""

    def __init__(self, sizes: list[int], chance: np.random.Generator) -> None:
        self.weights: list[np.ndarray] = []
        for inputs, outputs in itertools.pairwise(sizes):
            self.weights.append((chance.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32))
            self.weights.append(np.zeros(outputs, np.float32))

    def forward(self, images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The values of every layer, and the probability of each class."""
        layers = [images]
        for weight, bias in zip(self.weights[:-2:2], self.weights[1:-2:2], strict=True):
            layers.append(np.maximum(layers[-1] @ weight + bias, 0))
        logits = layers[-1] @ self.weights[-2] + self.weights[-1]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return layers, powers / powers.sum(axis=1, keepdims=True)

    def backward(self, layers: list[np.ndarray], probabilities: np.ndarray, classes: np.ndarray) -> list[np.ndarray]:
        """The gradient of the loss by each of the weights."""
        error = probabilities.copy()
        error[np.arange(len(classes)), classes] -= 1
        error /= len(classes)
        gradient: list[np.ndarray] = []
        for at in range(len(layers) - 1, -1, -1):
            gradient[:0] = [layers[at].T @ error, error.sum(axis=0)]
            if at > 0:
                error = (error @ self.weights[2 * at].T) * (layers[at] > 0)
        return gradient


class Optimizer:
    """Stochastic gradient descent with momentum, or Adam."""

    def __init__(self, name: str, weights: list[np.ndarray]) -> None:
        self.name = name
        self.first = [np.zeros_like(weight) for weight in weights]
        self.second = [np.zeros_like(weight) for weight in weights]
        self.steps = 0

    def updates(self, gradient: list[np.ndarray], lr: float) -> list[np.ndarray]:
        """What to add to each of the weights."""
        self.steps += 1
        updates = []
        for slope, first, second in zip(gradient, self.first, self.second, strict=True):
            first *= 0.9
            if self.name == "sgd":
                first += slope
                updates.append(-lr * first)
            else:
                first += 0.1 * slope
                second *= 0.999
                second += 0.001 * slope * slope
                scale = np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8
                updates.append(-lr * first / (1 - 0.9**self.steps) / scale)
        return updates


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The digits that come with scikit-learn: images and classes to train on, images and classes held back."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, classes = (digits.data[order] / 16).astype(np.float32), digits.target[order]
    return images[:1400], classes[:1400], images[1400:], classes[1400:]


def score(probabilities: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Loss and accuracy."""
    right = probabilities[np.arange(len(classes)), classes]
    return float(-np.log(np.maximum(right, 1e-12)).mean()), float((probabilities.argmax(axis=1) == classes).mean())


def norm(arrays: list[np.ndarray]) -> float:
    """The length of all arrays as one vector."""
    return float(np.sqrt(sum(float(np.vdot(array, array)) for array in arrays)))


def train(config: dict[str, Any], run: runlake.Run | Trial, steps: int) -> None:
    """Trains one configuration: the loop that a user would write."""
    images, classes, held_back, held_back_classes = load()
    chance = np.random.default_rng(7)
    network = Network([64, config["hidden"], config["hidden"], 10], chance)
    optimizer = Optimizer(config["optimizer"]["name"], network.weights)
    best = float("inf")
    for step in range(steps):
        lr = config["optimizer"]["lr"] * 0.5 * (1 + np.cos(np.pi * step / steps))
        # Some pixels are dropped, so that the small set of images lasts longer.
        at = chance.integers(0, len(images), config["batch_size"])
        batch = images[at] * (chance.random((len(at), 64), np.float32) > 0.2)
        layers, probabilities = network.forward(batch)
        loss, accuracy = score(probabilities, classes[at])
        gradient = network.backward(layers, probabilities, classes[at])
        updates = optimizer.updates(gradient, lr)
        for weight, update in zip(network.weights, updates, strict=True):
            weight += update
        weights_norm, update_norm = norm(network.weights), norm(updates)
        row = {
            "train/loss": loss,
            "train/accuracy": accuracy,
            "train/confidence": probabilities.max(axis=1).mean(),
            "grad/norm": norm(gradient),
            "grad/first_layer": norm(gradient[:2]),
            "grad/last_layer": norm(gradient[-2:]),
            "weights/norm": weights_norm,
            "update/norm": update_norm,
            "update/ratio": update_norm / weights_norm,
            "activations/mean": layers[-1].mean(),
            "activations/silent": (layers[-1] == 0).mean(),
            "lr": lr,
        }
        if step % VALIDATE_EVERY == 0 or step == steps - 1:
            row["val/loss"], row["val/accuracy"] = score(network.forward(held_back)[1], held_back_classes)
            best = min(best, row["val/loss"])
        run.log(row, step=step)
    run.summary["best_val_loss"] = best


class Trial:
    """Stands in for a run while steps are timed: what is logged goes nowhere."""

    def __init__(self) -> None:
        self.summary: dict[str, float] = {}

    def log(self, row: dict[str, Any], step: int) -> None:
        """Forgets the row."""


def seconds_a_step() -> float:
    """How long a step takes on this machine, over all configurations."""
    load()
    started = time.perf_counter()
    for config in CONFIGS:
        train(config, Trial(), 50)
    return (time.perf_counter() - started) / len(CONFIGS) / 50


def train_one(config: dict[str, Any], store: str, group: str, steps: int) -> None:
    """One run, in one of the processes."""
    optimizer = config["optimizer"]
    name = f"{optimizer['name']}-{optimizer['lr']:g}-h{config['hidden']}-b{config['batch_size']}"
    # The lines that the library prints at the start and the end of a run would tear the standings apart.
    with (
        contextlib.redirect_stderr(io.StringIO()),
        runlake.init(project=PROJECT, name=name, config=config, group=group, store=store) as run,
    ):
        train(config, run, steps)


def shell(*arguments: str) -> None:
    """Shows a command and what it prints."""
    print(f"\n$ {COMMAND} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "runlake", *arguments], check=True)


def report(store: str, group: str, seconds: float) -> None:
    """Compares the configurations, by SQL."""
    lake = runlake.open(store)
    print(f"\nAll {len(CONFIGS)} configurations, by their best validation loss:\n")
    table = lake.sql(f"""
        select r.name, r.config->'optimizer'->>'name' as optimizer, r.config->'optimizer'->>'lr' as lr,
               r.config->>'hidden' as hidden, r.config->>'batch_size' as batch,
               loss.min_value as best_val_loss, loss.min_step as at_step, accuracy.max_value as best_val_accuracy
        from runs r
        join series loss on loss.project = r.project and loss.run_id = r.run_id and loss.metric = 'val/loss'
        join series accuracy on accuracy.project = r.project and accuracy.run_id = r.run_id
             and accuracy.metric = 'val/accuracy'
        where r.project = '{PROJECT}' and r.group_name = '{group}'
        order by best_val_loss
    """)
    rows = table.to_dicts()
    print(
        f"{'run':<22}{'optimizer':>10}{'lr':>8}{'hidden':>8}{'batch':>7}"
        f"{'best val/loss':>15}{'at step':>9}{'accuracy':>10}"
    )
    for row in rows:
        print(
            f"{row['name']:<22}{row['optimizer']:>10}{row['lr']:>8}{row['hidden']:>8}{row['batch']:>7}"
            f"{row['best_val_loss']:>15.4f}{row['at_step']:>9}{row['best_val_accuracy']:>10.1%}"
        )
    best = rows[0]
    print(
        f"\nBest: {best['name']} reaches a validation loss of {best['best_val_loss']:.4f} "
        f"at step {best['at_step']}, and an accuracy of {best['best_val_accuracy']:.1%}."
    )
    ids = lake.sql(f"""
        select r.run_id from runs r join series s on s.project = r.project and s.run_id = r.run_id
        where r.group_name = '{group}' and s.metric = 'val/loss' order by s.min_value limit 4
    """).fetchall()
    runs = [argument for (id,) in ids for argument in ("--run", f"{PROJECT}/{id}")]
    shell("plot", "val/loss", "--log", "--smooth", "0.9", "--store", store, *runs)

    points = lake.sql(f"""
        select sum(s.count) from series s join runs r on r.project = s.project and r.run_id = s.run_id
        where r.group_name = '{group}'
    """).fetchall()[0][0]
    size = sum(path.stat().st_blocks * 512 for path in Path(store).rglob("*") if path.is_file())
    print(f"\n{points:,} points in {seconds:.0f} s of training: {points / seconds:,.0f} a second.")
    print(f"The lake takes {size / 2**20:.1f} MiB on disk: {store}")
    print(f"""
Try next, in this directory:

  {COMMAND} --store {store}
  {COMMAND} --store {store} show {best["name"]}
  {COMMAND} --store {store} plot grad/norm --log --limit 4
  {COMMAND} --store {store} sql "select metric, avg(last_value) from series group by metric order by metric"
  {os.path.relpath(sys.executable)} -c "import runlake; print(runlake.open('{store}').history('{best["name"]}'))"

{os.path.relpath(__file__)} is an example to start from.""")


def main() -> None:
    """Starts the trainers and the standings, and reports at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="digits.lake", help="the lake (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=16_000, help="steps of each configuration (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=4, help="trainers at once (default: %(default)s)")
    arguments = parser.parse_args()

    total = len(CONFIGS) * arguments.steps
    print(
        f"{len(CONFIGS)} configurations x {arguments.steps:,} steps = {total:,} steps, "
        f"in {arguments.processes} processes",
        flush=True,
    )
    minutes = total * seconds_a_step() / min(arguments.processes, os.cpu_count() or 1) / 60
    print(f"about {minutes:.1f} minutes on this machine, by a short trial", flush=True)
    group = time.strftime("%Y-%m-%d %H:%M:%S")
    started = time.monotonic()
    watch = ["--store", arguments.store, "--group", group, "--runs", str(len(CONFIGS)), "--steps", str(arguments.steps)]
    standings = subprocess.Popen([sys.executable, str(Path(__file__).with_name("standings.py")), *watch])
    try:
        # The trainers are fresh interpreters: a process forked from one with threads is a trap.
        with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as trainers:
            work = [trainers.submit(train_one, config, arguments.store, group, arguments.steps) for config in CONFIGS]
            for run in work:
                run.result()
        seconds = time.monotonic() - started
        standings.wait(timeout=60)
    finally:
        standings.terminate()
    report(arguments.store, group, seconds)


if __name__ == "__main__":
    main()
