"""Rows at steps that are past."""

import wandb

run = wandb.init(project="digits")
run.log({"a": 1}, step=10)
run.log({"a": 2}, step=3)
run.log({"a": 3}, step=11)
print(run.step)
run.finish()
