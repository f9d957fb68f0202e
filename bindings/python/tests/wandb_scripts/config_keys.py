"""Only some keys of a configuration."""

import wandb

given = {"lr": 0.1, "width": 64, "secret": "no"}
with wandb.init(project="digits", config=given, config_exclude_keys=["secret"]) as run:
    print(run.config.as_dict())
with wandb.init(project="digits", config=given, config_include_keys=["lr"]) as run:
    print(run.config.as_dict())
