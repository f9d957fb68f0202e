"""Types of paths."""

import os
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
FilePathStr: TypeAlias = str

__all__ = ["FilePathStr", "StrPath"]
