"""Many threads, one run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import runlake

Open = Callable[[], runlake.Lake]


def test_threads_lose_no_row(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    threads, each = 8, 5_000

    class Slow:
        def __init__(self, value: float) -> None:
            self.value = value

        def item(self) -> float:
            return self.value

    def work(worker: int) -> None:
        for step in range(each):
            value = float(worker * each + step)
            run.log({f"own{worker}": value, "shared": Slow(value) if step % 7 == 0 else value}, step=step)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    total = threads * each
    assert lake().sql("select count(*), count(distinct value) from points where metric = 'shared'").fetchall() == [
        (total, total)
    ]
    for worker in range(threads):
        rows = lake().sql(f"select step, value from points where metric = 'own{worker}' order by step").fetchall()
        assert rows == [(step, float(worker * each + step)) for step in range(each)]
    assert run.stats()["rows"] == total


def test_other_threads_run_while_a_query_does(store: Path, lake: Open) -> None:
    runlake.init("p").log_many("x", range(100_000))
    beats = 0
    stop = threading.Event()

    def beat() -> None:
        nonlocal beats
        while not stop.is_set():
            beats += 1

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        before = beats
        count = lake().sql("select count(*) from points a, (select step from points limit 200) b").fetchall()
        assert count == [(20_000_000,)]
        assert beats > before
    finally:
        stop.set()
        heart.join()
