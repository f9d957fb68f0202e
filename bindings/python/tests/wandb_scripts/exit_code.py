"""A run that ends with a code."""

import wandb

run = wandb.init(project="digits")
run.log({"a": 1})
run.finish(exit_code=3)
