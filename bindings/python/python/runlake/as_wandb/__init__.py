"""Programs that say `import wandb` log to a lake, unchanged.

From the command line, with whatever a program was started with before:

    python -m runlake.as_wandb train.py --lr 0.1
    python -m runlake.as_wandb -m torch.distributed.run --nproc-per-node 2 train.py

or, where the program is yours, before anything imports wandb:

    >>> import runlake
    >>> runlake.alias_wandb()
    >>> import wandb
    >>> with wandb.init(project="digits", config={"lr": 0.1}) as run:
    ...     run.log({"loss": 0.5})
    >>> run.summary["loss"]
    0.5

The folder `site` beside this file holds a package `wandb` and what `importlib.metadata` reads of it. It comes first in
`sys.path` and in `$PYTHONPATH`, and that is all: `find_spec`, `importlib.metadata.version`, pickles, subprocesses, and
workers that are forked or spawned find it as they find any package. A process that is started with `python -I` or
`-E` does not look at `$PYTHONPATH`, and so finds the wandb that is installed, if one is.

The page docs/wandb-differences.md says what is not as in wandb, and why.
"""

from __future__ import annotations

import os
import sys

from runlake._errors import InvalidArgument

__all__ = ["SITE", "alias_wandb"]

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")
"""The folder in which the package `wandb` is ours."""


def alias_wandb() -> None:
    """Makes `import wandb` log to a lake, in this process and in those that it starts from here on.

    Call it before anything imports wandb. The wandb that may be installed is left as it is. See `runlake.as_wandb` for
    how, and for programs that are not yours to change.

    Raises:
        InvalidArgument: the wandb that is installed has been imported already.

    >>> import runlake
    >>> runlake.alias_wandb()
    >>> import wandb
    >>> wandb.init(project="digits", mode="disabled").finish()
    """
    imported = getattr(sys.modules.get("wandb"), "__file__", None)
    if imported is not None and os.path.dirname(os.path.dirname(os.path.abspath(imported))) != SITE:
        raise InvalidArgument(
            f"wandb has been imported already, from {imported}; call runlake.alias_wandb() before that"
        )
    if SITE not in sys.path:
        sys.path.insert(0, SITE)
    os.environ["PYTHONPATH"] = with_site(os.environ.get("PYTHONPATH"))


def with_site(path: str | None) -> str:
    """`$PYTHONPATH` with our folder in it, first."""
    others = [] if path is None else [part for part in path.split(os.pathsep) if part != SITE]
    return os.pathsep.join([SITE, *others])
