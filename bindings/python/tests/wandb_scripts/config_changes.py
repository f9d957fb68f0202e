"""What may change in a configuration, and what may not."""

import wandb
from wandb.sdk.lib.config_util import ConfigError

run = wandb.init(project="digits", config={"lr": 0.1, "width": 64})
run.config.update({"width": 64, "depth": 2})
try:
    run.config.update({"lr": 0.2})
except ConfigError:
    print("lr stays", run.config.lr)
try:
    run.config["width"] = 128
except wandb.Error:
    print("width stays", run.config["width"])
run.config.update({"lr": 0.3}, allow_val_change=True)
run.config.setdefaults({"lr": 1.0, "seed": 7})
run.config.momentum = 0.9
wandb.config["nesterov"] = True
wandb.config.update({"model": {"a": 1}})
wandb.config.update({"model": {"b": 2}}, allow_val_change=True)
print(run.config.as_dict())
run.finish()
