"""`wandb.util`: the small helpers that integrations take from there."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import random
import re
import string
import sys
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_random = random.SystemRandom()


def generate_id(length: int = 8) -> str:
    """An id for a run: letters and digits."""
    return "".join(_random.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def get_module(name: str, required: str | bool | None = None, lazy: bool = True) -> Any:
    """A module, or `None` where it is missing and not required."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        if required:
            raise ImportError(required if isinstance(required, str) else f"{name} is needed: pip install {name}")
        return None
    return importlib.import_module(name)


def get_full_typename(o: Any) -> str:
    """Module and name of the type of an object."""
    kind = type(o)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def is_numpy_array(obj: Any) -> bool:
    """Whether it is an array of NumPy."""
    return "numpy" in sys.modules and isinstance(obj, sys.modules["numpy"].ndarray)


def is_pandas_data_frame(obj: Any) -> bool:
    """Whether it is a DataFrame of pandas."""
    return "pandas" in sys.modules and isinstance(obj, sys.modules["pandas"].DataFrame)


def is_pytorch_tensor(obj: Any) -> bool:
    """Whether it is a tensor of PyTorch."""
    return "torch" in sys.modules and isinstance(obj, sys.modules["torch"].Tensor)


def json_friendly(obj: Any) -> tuple[Any, bool]:
    """What JSON can take for an object, and whether that is something else."""
    if hasattr(obj, "tolist"):
        return obj.tolist(), True
    if isinstance(obj, (bytes, bytearray)):
        return obj.decode(errors="replace"), True
    if isinstance(obj, (set, frozenset)):
        return list(obj), True
    return obj, False


def json_friendly_val(val: Any) -> Any:
    """What JSON can take for an object and all that is in it."""
    if isinstance(val, Mapping):
        return {str(key): json_friendly_val(inner) for key, inner in val.items()}
    if isinstance(val, (list, tuple, set, frozenset)):
        return [json_friendly_val(inner) for inner in val]
    if val is None or isinstance(val, (str, bool, int, float)):
        return val
    plain, changed = json_friendly(val)
    return plain if changed else str(val)


def json_dumps_safer(obj: Any, **kwargs: Any) -> str:
    """JSON of anything: what it cannot take becomes text."""
    return json.dumps(json_friendly_val(obj), **kwargs)


def json_dump_safer(obj: Any, fp: Any, **kwargs: Any) -> None:
    """Writes JSON of anything."""
    json.dump(json_friendly_val(obj), fp, **kwargs)


def make_artifact_name_safe(name: str) -> str:
    """A name that an artifact may have."""
    return re.sub(r"[^\w\-.]", "_", name)[:128]


def to_forward_slash_path(path: str) -> str:
    """A path with slashes."""
    return path.replace(os.sep, "/")


def auto_project_name(program: str | None) -> str:
    """The name of a project for a program."""
    return "uncategorized"
