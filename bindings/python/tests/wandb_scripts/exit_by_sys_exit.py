"""A program that ends with a code."""

import sys

import wandb

run = wandb.init(project="digits")
run.log({"a": 1})
sys.exit(4)
