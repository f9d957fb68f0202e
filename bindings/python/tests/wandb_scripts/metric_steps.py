"""Metrics over another metric."""

import wandb

run = wandb.init(project="digits")
wandb.define_metric("epoch", hidden=True)
wandb.define_metric("val/*", step_metric="epoch")
wandb.define_metric("test/*", step_metric="epoch", step_sync=False)
run.define_metric("val/best", step_metric="round", summary="max")
run.log({"epoch": 1, "round": 10, "val/loss": 0.5})
run.log({"val/loss": 0.4})
run.log({"test/loss": 0.3, "val/best": 7})
run.log({"epoch": 2})
run.log({"val/loss": 0.2, "train/loss": 0.1})
run.finish()
