"""Two runs at the same time."""

import wandb

one = wandb.init(project="digits", name="one", reinit="create_new")
two = wandb.init(project="digits", name="two", reinit="create_new")
for step in range(3):
    one.log({"value": step})
    two.log({"value": step * 10})
one.config["which"] = 1
two.config["which"] = 2
two.finish()
one.log({"value": 3})
one.finish()
