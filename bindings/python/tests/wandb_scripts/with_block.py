"""Blocks that end runs, one of them by an exception."""

import wandb

with wandb.init(project="digits", name="good") as run:
    run.log({"a": 1})
try:
    with wandb.init(project="digits", name="bad") as run:
        run.log({"a": 2})
        raise ValueError("in the block")
except ValueError:
    print("caught", wandb.run)
