"""`Settings`: what `init` goes by where it is given no argument, and the environment variables behind that."""

from __future__ import annotations

from runlake._errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal, TypeAlias

    Mode: TypeAlias = Literal["online", "offline", "shared", "disabled"]
    Resume: TypeAlias = Literal["allow", "must", "never", "auto"] | bool
    Reinit: TypeAlias = Literal["finish_previous", "return_previous", "create_new", "default"] | bool

VARIABLES = {
    "store": "RUNLAKE_STORE",
    "dir": "RUNLAKE_DIR",
    "project": "RUNLAKE_PROJECT",
    "entity": "RUNLAKE_ENTITY",
    "run_id": "RUNLAKE_RUN_ID",
    "run_name": "RUNLAKE_NAME",
    "run_group": "RUNLAKE_RUN_GROUP",
    "run_job_type": "RUNLAKE_JOB_TYPE",
    "run_notes": "RUNLAKE_NOTES",
    "run_tags": "RUNLAKE_TAGS",
    "mode": "RUNLAKE_MODE",
    "disabled": "RUNLAKE_DISABLED",
    "resume": "RUNLAKE_RESUME",
    "reinit": "RUNLAKE_REINIT",
    "silent": "RUNLAKE_SILENT",
    "strict": "RUNLAKE_STRICT",
    "host": "RUNLAKE_HOST",
    "username": "RUNLAKE_USERNAME",
    "program": "RUNLAKE_PROGRAM",
    "disable_git": "RUNLAKE_DISABLE_GIT",
}
"""The variable of each setting."""

_FLAGS = frozenset({"disabled", "silent", "strict", "disable_git"})

_CHOICES: Mapping[str, Mapping[str, Any]] = {
    # What stands to the right of a word that old programs use is what it means.
    "mode": {
        "online": "online",
        "offline": "offline",
        "shared": "shared",
        "disabled": "disabled",
        "run": "online",
        "dryrun": "offline",
    },
    "resume": {"allow": "allow", "must": "must", "never": "never", "auto": "auto", "true": "auto", "false": None},
    "reinit": {
        "default": "finish_previous",
        "finish_previous": "finish_previous",
        "return_previous": "return_previous",
        "create_new": "create_new",
        "true": "finish_previous",
        "false": "return_previous",
    },
}


class Settings:
    """What `init` goes by where an argument is not given; what is not given here comes from the environment.

    Each setting has a variable: `RUNLAKE_` and its name, without `run_` where there is an argument of that name. The
    page docs/environment.md lists them, beside those of wandb.

    Args:
        store: the lake.
        dir: another word for `store`; a folder that is no lake is the one in which `runs.lake` stands.
        project: the project.
        entity: whose project it is; a lake has no entities, see `init`.
        run_id: the id of the run.
        run_name: its name.
        run_group: its group.
        run_job_type: its type of job.
        run_notes: its notes.
        run_tags: its tags; in the variable they stand between commas.
        mode: `offline`, `shared`, `disabled` or `online`; see `init`.
        disabled: another word for `mode="disabled"`.
        resume: `allow`, `must`, `never` or `auto`; see `init`.
        reinit: `finish_previous`, `return_previous` or `create_new`; see `init`.
        silent: print nothing to stderr; warnings are still given.
        strict: raise exceptions for what cannot be kept.
        host: the name of the host that is kept with the run.
        username: the name of the user that is kept with the run.
        program: the program that is kept with the run.
        disable_git: keep neither commit nor remote.

    >>> import runlake
    >>> with runlake.init(settings=runlake.Settings(project="digits", run_tags=["baseline"])) as run:
    ...     run.project, run.tags
    ('digits', ('baseline',))
    """

    __slots__ = tuple(VARIABLES)

    store: str | os.PathLike[str] | None
    dir: str | os.PathLike[str] | None
    project: str | None
    entity: str | None
    run_id: str | None
    run_name: str | None
    run_group: str | None
    run_job_type: str | None
    run_notes: str | None
    run_tags: Iterable[str] | None
    mode: Mode | None
    disabled: bool | None
    resume: Resume | None
    reinit: Reinit | None
    silent: bool | None
    strict: bool | None
    host: str | None
    username: str | None
    program: str | None
    disable_git: bool | None

    def __init__(
        self,
        *,
        store: str | os.PathLike[str] | None = None,
        dir: str | os.PathLike[str] | None = None,
        project: str | None = None,
        entity: str | None = None,
        run_id: str | None = None,
        run_name: str | None = None,
        run_group: str | None = None,
        run_job_type: str | None = None,
        run_notes: str | None = None,
        run_tags: Iterable[str] | None = None,
        mode: Mode | None = None,
        disabled: bool | None = None,
        resume: Resume | None = None,
        reinit: Reinit | None = None,
        silent: bool | None = None,
        strict: bool | None = None,
        host: str | None = None,
        username: str | None = None,
        program: str | None = None,
        disable_git: bool | None = None,
    ) -> None:
        given = locals()
        for name in VARIABLES:
            setattr(self, name, given[name])

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in VARIABLES:
            raise _unknown(name)
        object.__setattr__(self, name, checked(name, value, name))

    def __repr__(self) -> str:
        given = ((name, getattr(self, name)) for name in VARIABLES)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in given if value is not None)})"


def resolved(settings: Settings | Mapping[str, Any] | None, environ: Mapping[str, str], **given: Any) -> Settings:
    """Settings of what was given, else of `settings`, else of the environment. Those of nobody are `None`."""
    if isinstance(settings, Settings):
        settings = {name: getattr(settings, name) for name in VARIABLES}
    settings = settings or {}
    for name in settings:
        if name not in VARIABLES:
            raise _unknown(name)
    variables = {name: _read(name, environ[variable]) for name, variable in VARIABLES.items() if environ.get(variable)}
    levels = (
        {name: checked(name, value, name.removeprefix("run_")) for name, value in given.items()},
        {name: checked(name, value, f"settings: {name}") for name, value in settings.items()},
        {name: checked(name, value, f"${VARIABLES[name]}") for name, value in variables.items()},
    )
    found = Settings()
    for name in VARIABLES:
        value = next((level[name] for level in levels if level.get(name) is not None), None)
        object.__setattr__(found, name, value)
    # Of two words for one thing the one that stands nearer to the call counts.
    for word, other in (("store", "dir"), ("mode", "disabled")):
        for level in levels:
            if level.get(word) is not None or level.get(other) is not None:
                object.__setattr__(found, word, level.get(word))
                object.__setattr__(found, other, None if level.get(word) is not None else level.get(other))
                break
    if found.disabled:
        object.__setattr__(found, "mode", "disabled")
    return found


def _read(name: str, text: str) -> Any:
    if name in _FLAGS:
        return text.strip().lower() not in ("0", "false", "no", "off")
    if name == "run_tags":
        return [tag.strip() for tag in text.split(",") if tag.strip()]
    return text


def checked(name: str, value: Any, called: str) -> Any:
    """A value of a setting in its one spelling; `called` is what the user calls it."""
    choices = _CHOICES.get(name)
    if value is None or choices is None:
        return value
    word = str(value).lower()
    if word not in choices:
        valid = ", ".join(dict.fromkeys(str(choice) for choice in choices.values() if choice))
        raise InvalidArgument(f"{called}: {value!r} is none of {valid}")
    return choices[word]


def _unknown(name: str) -> InvalidArgument:
    import difflib

    near = difflib.get_close_matches(name, VARIABLES, 3, 0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; there is {', '.join(VARIABLES)}"
    return InvalidArgument(f"settings: there is no setting {name!r}{hint}")
