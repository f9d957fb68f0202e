"""A configuration out of a YAML file, in both forms that wandb reads."""

from pathlib import Path

import wandb

Path("plain.yaml").write_text("lr: 0.1\nmodel:\n  width: 3\n")
Path("described.yaml").write_text("wandb_version: 1\nlr:\n  desc: a rate\n  value: 0.2\nname:\n  value: mlp\n")
with wandb.init(project="digits", config="described.yaml") as run:
    print(run.config.as_dict())
