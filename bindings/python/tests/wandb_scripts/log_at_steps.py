"""Rows with steps, parts of one row at one step, and what follows without a step."""

import wandb

run = wandb.init(project="digits")
run.log({"a": 1.0}, step=5)
print(run.step)
run.log({"b": 2.0}, step=5)
run.log({"c": 3.0})
print(run.step)
run.log({"a": 4.0})
run.log({"a": 5.0}, step=100)
run.log({"a": 6.0}, step=100, commit=True)
print(run.step)
run.log({"a": 7.0})
wandb.log({"b": 8.0}, step=200)
run.finish()
