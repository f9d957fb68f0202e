"""A program that fails."""

import wandb

run = wandb.init(project="digits")
run.log({"a": 1})
raise RuntimeError("the program fails here, as it should")
