"""A loop that logs."""

import wandb

run = wandb.init(project="digits", name="rows")
for step in range(20):
    run.log({"train/loss": 1 / (step + 1), "train/accuracy": step / 20, "epoch": step // 5})
print(run.step, run.starting_step)
run.finish()
