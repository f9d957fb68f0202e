"""Rows that several calls make."""

import wandb

run = wandb.init(project="digits")
for step in range(3):
    run.log({"loss": 1.0 / (step + 1)}, commit=False)
    run.log({"accuracy": step / 3}, commit=False)
    run.log({"loss": 2.0 / (step + 1), "epoch": step})
    print(run.step)
run.log({"last": 1.0}, commit=False)
run.finish()
