"""Modules that integrations import, by the names by which they do."""

import importlib
import importlib.metadata
import importlib.util

import wandb
from wandb.errors import CommError, Error, UsageError
from wandb.sdk.lib import telemetry
from wandb.sdk.lib.runid import generate_id
from wandb.sdk.wandb_run import Run

assert importlib.util.find_spec("wandb") is not None
print(importlib.metadata.version("wandb"), wandb.__version__, hasattr(wandb, "run"))
print(issubclass(CommError, Error), issubclass(UsageError, wandb.Error), len(generate_id()))
wandb.require("core")
wandb.termlog("a line")
wandb.setup()
with wandb.init(project="digits", anonymous=None) as run:
    with telemetry.context(run=run) as said:
        said.feature.keras = True
    run._label(code="a test")
    print(isinstance(run, Run))
    run.log({"a": 1})
