"""The parts of wandb that integrations import."""

from runlake.as_wandb.alert import AlertLevel
from runlake.as_wandb.artifact import Artifact
from runlake.as_wandb.config import Config
from runlake.as_wandb.session import attach, finish, init, login, require, setup, teardown
from runlake.as_wandb.settings import Settings
from runlake.as_wandb.summary import Summary
from runlake.as_wandb.sweep import controller, sweep

_attach = attach

__all__ = [
    "AlertLevel",
    "Artifact",
    "Config",
    "Settings",
    "Summary",
    "attach",
    "controller",
    "finish",
    "init",
    "login",
    "require",
    "setup",
    "sweep",
    "teardown",
]
