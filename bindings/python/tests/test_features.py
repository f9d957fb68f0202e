"""docs/features.md says yes only where a test shows it."""

from __future__ import annotations

import re
from pathlib import Path

import runlake

PAGE = Path(__file__).parents[3] / "docs/features.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("| |", "| ---"))
]
LINK = re.compile(r'\[(?P<word>[^]]+)\]\((?P<file>[^ )]+) "(?P<test>\w+)"\)')


def test_every_yes_and_every_partly_of_ours_leads_to_a_test_that_is_there() -> None:
    linked = 0
    for row in ROWS:
        ours = row[1]
        link = LINK.fullmatch(ours)
        if link is None:
            assert not ours.startswith(("yes", "partly")), row[:2]
            continue
        linked += 1
        source = (PAGE.parent / link["file"]).resolve()
        word = "def" if source.suffix == ".py" else "fn"
        assert re.search(rf"^\s*{word} {link['test']}\b", source.read_text(encoding="utf-8"), re.MULTILINE), row[:2]
    assert linked >= 20


def test_all_rows_have_all_columns() -> None:
    assert {len(row) for row in ROWS} == {12}


def test_metrics_are_found_by_regular_expressions(store: Path) -> None:
    with runlake.init("p") as run:
        run.log({"train/loss": 1.0, "val/loss": 2.0, "lr": 3.0})
    found = runlake.open().sql(r"select distinct metric from series where metric ~ '^(train|val)/' order by metric")
    assert found.fetchall() == [("train/loss",), ("val/loss",)]
