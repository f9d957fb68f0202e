"""`init` twice, without an end between."""

import wandb

first = wandb.init(project="digits", name="first")
first.log({"a": 1})
again = wandb.init(project="digits", name="again")
print(again is first, again.name)
again.log({"a": 2})
second = wandb.init(project="digits", name="second", reinit="finish_previous")
print(second is first, wandb.run is second)
second.log({"a": 3})
wandb.finish()
