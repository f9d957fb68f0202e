"""`wandb.Api`: `runlake.Api`, with wandb's variables and exceptions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import runlake
from runlake._api import Runs, StoredRun
from runlake.as_wandb.artifact import none_stored
from runlake.as_wandb.errors import CommError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class NoSuchRun(CommError, ValueError):
    """No run is called so; both of what wandb raises for that."""


class Api(runlake.Api):
    """Reads the lake: `wandb.Api().runs("team/digits", filters={"state": "finished"})`; see `runlake.Api`.

    Args:
        overrides: the `project` and the `entity` of paths that name none; else `$WANDB_PROJECT` and `$WANDB_ENTITY`.
        timeout: taken, and not used.
        api_key: taken, and not used.

    Raises:
        CommError: no lake stands there.

    >>> import runlake
    >>> runlake.alias_wandb()
    >>> import wandb
    >>> with wandb.init(project="digits", id="first") as run:
    ...     run.log({"loss": 0.5})
    >>> wandb.Api().run("team/digits/first").summary["loss"]
    0.5
    """

    def __init__(
        self, overrides: Mapping[str, Any] | None = None, timeout: int | None = None, api_key: str | None = None
    ) -> None:
        variables = {"entity": os.environ.get("WANDB_ENTITY"), "project": os.environ.get("WANDB_PROJECT")}
        known = {name: value for name, value in variables.items() if value}
        try:
            super().__init__({**known, **(overrides or {})}, timeout, api_key)
        except runlake.NoLake as error:
            raise CommError(str(error)) from error

    def run(self, path: str = "@last") -> StoredRun:
        """One run, by `entity/project/id`; see `runlake.Api.run`.

        Raises:
            CommError: no run is called so; it is a `ValueError` too.
        """
        try:
            return super().run(path)
        except runlake.NotFound as error:
            raise NoSuchRun(str(error)) from error

    def from_path(self, path: str) -> Any:
        """The project or the run of a path."""
        return self.project(path.strip("/")) if path.strip("/").count("/") < 2 else self.run(path)

    def project(self, name: str, entity: str | None = None) -> Project:
        """A project, whether it has runs or not."""
        return Project(self, name.rpartition("/")[2], entity or self.default_entity or "")

    def projects(self, entity: str | None = None, per_page: int = 200) -> Projects:  # type: ignore[override]
        """All projects of the lake."""
        names = super().projects(entity, per_page)
        return Projects([Project(self, name, entity or self.default_entity or "") for name in names])

    @property
    def viewer(self) -> Any:
        """Whoever asks: the user of this process."""
        from types import SimpleNamespace

        from runlake._origin import _user

        name = _user()
        return SimpleNamespace(username=name, name=name, entity=self.default_entity or name, email=None, teams=[])

    @property
    def user_agent(self) -> str:
        """Which program this is."""
        return f"runlake {runlake.__version__}"

    def create_project(self, name: str, entity: str) -> None:
        """Nothing is to be done: a project is there from its first run on."""

    def artifact(self, name: str, type: str | None = None) -> NoReturn:
        """Cannot be done yet.

        Raises:
            CommError: always.
        """
        raise none_stored(name)

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """No artifact is stored yet."""
        return False

    def artifact_collection_exists(self, name: str, type: str) -> bool:
        """No artifact is stored yet."""
        return False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Api.{name} is not in runlake; docs/wandb-differences.md says why")


class Project:
    """A project: a name that runs share."""

    def __init__(self, api: Api, name: str, entity: str) -> None:
        self._api = api
        self.name = name
        self.entity = entity

    @property
    def path(self) -> list[str]:
        """Entity and name."""
        return [self.entity, self.name]

    @property
    def id(self) -> str:
        """The name."""
        return self.name

    def __repr__(self) -> str:
        return f"<wandb.Project {self.name!r}>"


class Projects(Sequence[Project]):
    """Projects, by name."""

    def __init__(self, projects: list[Project]) -> None:
        self._projects = projects

    def __len__(self) -> int:
        return len(self._projects)

    def __getitem__(self, index: Any) -> Any:
        return self._projects[index]

    def __iter__(self) -> Iterator[Project]:
        return iter(self._projects)


Run = StoredRun

__all__ = ["Api", "NoSuchRun", "Project", "Projects", "Run", "Runs"]
