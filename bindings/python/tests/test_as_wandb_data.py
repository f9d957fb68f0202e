"""Whatever a program for wandb logs, it goes on, and the numbers are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runlake
from runlake.as_wandb import session
from runlake.as_wandb.histogram import Histogram
from runlake.as_wandb.media import Html
from runlake.as_wandb.run import Run

KEYS = st.text(max_size=20)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.text(),
    st.binary(),
    st.datetimes(),
    st.decimals(),
    st.complex_numbers(),
    st.lists(st.floats(), max_size=3),
    st.sets(st.integers(), max_size=3),
    st.builds(object),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(np.arange, st.integers(0, 40)),
    st.builds(lambda: Histogram(np_histogram=([1], [0.0, 1.0]))),
    st.builds(lambda: [Html("<p>")]),
)
NESTED = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.one_of(KEYS, st.integers()), inner, max_size=3), max_leaves=8
)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    store = tmp_path_factory.mktemp("any") / "runs.lake"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNLAKE_STORE", str(store))
        run = session.init(project="p")
    yield run
    run.finish()


@settings(max_examples=200, deadline=None)
@given(data=st.dictionaries(KEYS, NESTED, max_size=4), step=st.one_of(st.none(), st.integers(0, 1000)))
@pytest.mark.filterwarnings("ignore::runlake.NotYetWarning")
def test_no_data_stops_a_program_and_numbers_beside_it_are_kept(
    logged: Run, data: dict[str, Any], step: int | None
) -> None:
    at = logged.step if step is None else step
    logged.log({**data, "beside": at + 0.5}, step=step)
    query = f"select value from points where metric = 'beside' and step = {at}"
    assert (at + 0.5,) in runlake.open(logged._kept.store).sql(query).fetchall()


def test_a_mapping_in_itself_stops_no_program(logged: Run) -> None:
    data: dict[str, Any] = {}
    data["inner"] = data
    logged.log({"cycle": data, "beside": 1})
