"""A program that just ends."""

import wandb

wandb.init(project="digits")
wandb.log({"a": 1})
wandb.log({"a": 2}, commit=False)
