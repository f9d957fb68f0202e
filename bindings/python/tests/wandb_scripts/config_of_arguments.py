"""A configuration out of `argparse`."""

import argparse

import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--layers", type=int, nargs="*", default=[1, 2])
parser.add_argument("--name", default=None)
arguments = parser.parse_args(["--lr", "0.5"])
run = wandb.init(project="digits", config=vars(arguments))
run.config.update(argparse.Namespace(seed=3, lr=0.5))
print(run.config.seed)
run.finish()
