"""`wandb.env`: the names of wandb's environment variables, and helpers about them."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_TEXT = """
ANONYMOUS API_KEY APP_URL ARTIFACT_DIR BASE_URL CACHE_DIR CONFIG_DIR CONFIG_PATHS CREDENTIALS_FILE DATA_DIR DEBUG DIR
DISABLE_CODE DISABLE_GIT DISABLE_SSL DOCKER ENTITY ERROR_REPORTING GIT_COMMIT GIT_REMOTE_URL GIT_ROOT HOST
IDENTITY_TOKEN_FILE INIT_TIMEOUT JOB_TYPE MAGIC MODE NAME NOTEBOOK_NAME NOTES ORGANIZATION PROGRAM PROJECT QUIET
RESUME RUN_DIR RUN_GROUP RUN_ID SAVE_CODE SERVICE SHOW_RUN SILENT SWEEP_ID SWEEP_PARAM_PATH TAGS USERNAME USER_EMAIL
"""
_NAMES = _TEXT.split()

globals().update({name: f"WANDB_{name}" for name in _NAMES})
IGNORE = "WANDB_IGNORE_GLOBS"
ARGS = "WANDB_ARGS"


def is_offline(env: MutableMapping[str, str] | None = None) -> bool:
    """True: a lake is never online."""
    return True


def get_project(default: str | None = None, env: MutableMapping[str, str] | None = None) -> str | None:
    """`$WANDB_PROJECT`."""
    return (os.environ if env is None else env).get("WANDB_PROJECT", default)


def get_entity(default: str | None = None, env: MutableMapping[str, str] | None = None) -> str | None:
    """`$WANDB_ENTITY`."""
    return (os.environ if env is None else env).get("WANDB_ENTITY", default)


def set_project(value: str, env: MutableMapping[str, str] | None = None) -> None:
    """Sets `$WANDB_PROJECT`."""
    (os.environ if env is None else env)["WANDB_PROJECT"] = value or "uncategorized"


def set_entity(value: str, env: MutableMapping[str, str] | None = None) -> None:
    """Sets `$WANDB_ENTITY`."""
    (os.environ if env is None else env)["WANDB_ENTITY"] = value
