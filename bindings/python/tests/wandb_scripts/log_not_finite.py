"""NaN and the infinities."""

import math

import wandb

run = wandb.init(project="digits")
for value in (1.0, math.nan, math.inf, -math.inf, 2.0, math.nan):
    run.log({"loss": value})
run.finish()
