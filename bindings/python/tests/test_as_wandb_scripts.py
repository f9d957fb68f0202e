"""Scripts store under `runlake.as_wandb` what they store under wandb, which is recorded beside them.

`make frameworks` compares the record with what the installed wandb stores; see `wandb_oracle`.
"""

from __future__ import annotations

import pytest

import wandb_oracle

RECORDED = wandb_oracle.recorded()

BEYOND = {
    # wandb drops a row at a step that is past.
    "log_old_steps": ["run 0 rows: step 3: a = 2.0 is only in ours"],
}
"""What we keep and wandb does not; docs/wandb-differences.md says why."""


@pytest.mark.parametrize("name", wandb_oracle.names())
def test_a_script_stores_what_it_stores_under_wandb(name: str) -> None:
    ours = wandb_oracle.under_runlake(name)
    assert wandb_oracle.differences(RECORDED[name], ours) == BEYOND.get(name, []), ours["said"]


def test_there_are_many_scripts_and_each_is_recorded() -> None:
    assert len(wandb_oracle.names()) >= 25
    assert sorted(RECORDED) == wandb_oracle.names()
