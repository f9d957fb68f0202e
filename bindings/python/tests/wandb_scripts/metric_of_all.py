"""One step metric for all, as frameworks define it."""

import wandb

run = wandb.init(project="digits")
run.define_metric("train/global_step")
run.define_metric("*", step_metric="train/global_step", step_sync=True)
for step in range(3):
    run.log({"train/loss": 1.0 / (step + 1), "train/global_step": step * 10})
    run.log({"eval/loss": 2.0 / (step + 1)})
run.finish()
