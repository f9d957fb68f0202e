"""Prints who is ahead while other processes train, by SQL.

    python examples/standings.py --store digits.lake --group GROUP --runs 16 --steps 16000

It knows nothing of the trainers: it reads the lake, like any other process could.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import runlake

QUERY = """
    select r.name, r.state, s.last_step, s.last_value, s.min_value, a.last_value
    from runs r
    join series s on s.project = r.project and s.run_id = r.run_id and s.metric = 'val/loss'
    join series a on a.project = r.project and a.run_id = r.run_id and a.metric = 'val/accuracy'
    where r.group_name = '{group}'
    order by s.min_value
"""


def wait_for(store: str) -> runlake.Lake:
    """The lake, as soon as a trainer has created it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return runlake.open(store)
        except runlake.NoLake:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def table(rows: list[tuple[Any, ...]], runs: int, steps: int, milliseconds: float) -> list[str]:
    """The standings as lines of text."""
    done = sum(last_step + 1 for _, _, last_step, *_ in rows) / (runs * steps)
    lines = [
        f"{done:4.0%} of all steps, {len(rows)} of {runs} runs begun; asked by SQL in {milliseconds:.0f} ms",
        f"{'run':<24}{'state':<10}{'step':>7}{'val/loss':>11}{'best':>9}{'accuracy':>10}",
    ]
    for name, state, last_step, last, best, accuracy in rows:
        lines.append(f"{name:<24}{state:<10}{last_step:>7}{last:>11.4f}{best:>9.4f}{accuracy:>10.1%}")
    return lines


def main() -> None:
    """Asks and prints until every run has ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="the lake")
    parser.add_argument("--group", required=True, help="the group of runs to watch")
    parser.add_argument("--runs", type=int, required=True, help="how many runs will be in it")
    parser.add_argument("--steps", type=int, required=True, help="how many steps each will take")
    arguments = parser.parse_args()

    in_place = sys.stdout.isatty()
    lake = wait_for(arguments.store)
    query = QUERY.format(group=arguments.group.replace("'", "''"))
    printed = 0
    before: list[str] = []
    while True:
        asked = time.perf_counter()
        rows = lake.sql(query).fetchall()
        lines = table(rows, arguments.runs, arguments.steps, (time.perf_counter() - asked) * 1000)
        ended = sum(state not in ("running", "unknown") for _, state, *_ in rows)
        if in_place:
            # Up to where the standings began, and clear what follows.
            up = f"\x1b[{printed}A\x1b[J" if printed else ""
            print(up + "\n".join(lines), flush=True)
            printed = len(lines)
        elif rows and lines[1:7] != before:
            # A log file wants few lines: the five that lead, and only where they have changed.
            print("\n".join(lines[:7]) + "\n", flush=True)
            before = lines[1:7]
        if ended == arguments.runs:
            return
        time.sleep(0.5 if in_place else 10)


if __name__ == "__main__":
    main()
