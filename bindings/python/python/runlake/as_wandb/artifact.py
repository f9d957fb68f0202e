"""`wandb.Artifact`: named files. What is put into one is listed, and is not stored yet."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence

from runlake.as_wandb import later
from runlake.as_wandb.errors import CommError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum
    from typing import IO, Any

    from typing_extensions import Self
else:
    from enum import Enum


class ArtifactTTL(Enum):
    """How long a version lives, where that is not a `timedelta`."""

    INHERIT = 0


class ArtifactManifestEntry:
    """One file of an artifact: its path there, and where it is."""

    def __init__(self, path: str, local_path: str | None = None, ref: str | None = None) -> None:
        self.path = path
        self.local_path = local_path
        self.ref = ref

    @property
    def size(self) -> int:
        """Bytes."""
        return os.path.getsize(self.local_path) if self.local_path and os.path.exists(self.local_path) else 0


class Artifact:
    """Named, typed files with metadata.

    Args:
        name: letters, digits, `-`, `_` and `.`.
        type: what sort of files they are, such as `model` or `dataset`.
        description: in your words.
        metadata: a mapping.
        incremental: whether it adds to the version before.
        use_as: taken, and not used.
        storage_region: taken, and not used.
        digest_algorithm: taken, and not used.
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
        storage_region: str | None = None,
        digest_algorithm: str = "MD5",
    ) -> None:
        if not re.fullmatch(r"[\w.\-]{1,128}", name, re.ASCII):
            raise ValueError(f"Artifact: a name is 1 to 128 letters, digits, - _ and . only, which {name!r} is not")
        if type == "job" or type.startswith("wandb-"):
            raise ValueError(f"Artifact: type {type!r} is one of wandb's own")
        self._name = name
        self.type = type
        self.description = description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.incremental = incremental
        self.use_as = use_as
        self.aliases: list[str] = []
        self.tags: list[str] = []
        self.ttl: Any = None
        self._logged = False
        self._entries: dict[str, ArtifactManifestEntry] = {}
        self._folder: Any = None

    @property
    def name(self) -> str:
        """The name, with the version once it was logged."""
        return f"{self._name}:v0" if self._logged else self._name

    @property
    def version(self) -> str:
        """The version."""
        return "v0"

    @property
    def state(self) -> str:
        """`PENDING`, or `COMMITTED` once it was logged."""
        return "COMMITTED" if self._logged else "PENDING"

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(entry.size for entry in self._entries.values())

    @property
    def file_count(self) -> int:
        """How many files."""
        return len(self._entries)

    @property
    def manifest(self) -> Self:
        """What is in it: itself, for `manifest.entries`."""
        return self

    @property
    def entries(self) -> dict[str, ArtifactManifestEntry]:
        """The files, by path."""
        return dict(self._entries)

    def is_draft(self) -> bool:
        """Whether it was not logged yet."""
        return not self._logged

    def add_file(
        self,
        local_path: str,
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> ArtifactManifestEntry:
        """Adds a file."""
        if not os.path.isfile(local_path):
            raise ValueError(f"Artifact: {os.fspath(local_path)!r} is no file")
        return self._add(name or os.path.basename(local_path), local_path=os.path.abspath(local_path))

    def add_dir(
        self,
        local_path: str,
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Adds the files of a folder and of those in it."""
        if not os.path.isdir(local_path):
            raise ValueError(f"Artifact: {os.fspath(local_path)!r} is no folder")
        for folder, _, files in os.walk(local_path):
            for file in files:
                path = os.path.join(folder, file)
                self.add_file(path, os.path.join(name or "", os.path.relpath(path, local_path)))

    def add_reference(
        self, uri: Any, name: Any = None, checksum: bool = True, max_objects: int | None = None
    ) -> Sequence[ArtifactManifestEntry]:
        """Adds the address of a file elsewhere."""
        address = str(uri.ref if isinstance(uri, ArtifactManifestEntry) else uri)
        return [self._add(str(name or os.path.basename(address)), ref=address)]

    def add(self, obj: Any, name: Any, overwrite: bool = False) -> ArtifactManifestEntry:
        """Adds an object such as a `Table`."""
        return self._add(str(name))

    @contextlib.contextmanager
    def new_file(
        self, name: str, mode: str = "x", encoding: str | None = None, policy: str = "mutable"
    ) -> Iterator[IO[Any]]:
        """Opens a new file in a folder of its own, to be written, and adds it."""
        import tempfile

        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="runlake-artifact-")
        path = os.path.join(self._folder.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode, encoding=encoding) as file:
            yield file
        self.add_file(path, name)

    def _add(self, path: str, **where: str) -> ArtifactManifestEntry:
        entry = self._entries[path.replace(os.sep, "/")] = ArtifactManifestEntry(path, **where)
        return entry

    def remove(self, item: Any) -> None:
        """Takes a file out."""
        path = item.path if isinstance(item, ArtifactManifestEntry) else str(item)
        found = [name for name in self._entries if name == path or name.startswith(f"{path}/")]
        if not found:
            raise FileNotFoundError(f"Artifact: {path!r} is not in it")
        for name in found:
            del self._entries[name]

    def get_entry(self, name: Any) -> ArtifactManifestEntry:
        """A file, by path."""
        try:
            return self._entries[str(name)]
        except KeyError:
            raise KeyError(f"Artifact: {name!r} is not in it; there is {', '.join(self._entries)}") from None

    def get_path(self, name: Any) -> ArtifactManifestEntry:
        """Another word for `get_entry`."""
        return self.get_entry(name)

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """The path in the artifact of a file that was added."""
        path = os.path.abspath(local_path)
        return next((name for name, entry in self._entries.items() if entry.local_path == path), None)

    def finalize(self) -> None:
        """Nothing is to be done."""

    def save(self, project: str | None = None, settings: object = None) -> None:
        """Logs it to the run that is live."""
        self._log()

    def wait(self, timeout: int | None = None) -> Self:
        """Waits for nothing, for nothing is sent."""
        return self

    def download(
        self,
        root: Any = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: Any = None,
        multipart: bool | None = None,
    ) -> str:
        """Cannot be done yet."""
        raise later.refused("Artifact.download()", f"the files of {self._name!r} stayed where they were")

    def checkout(self, root: str | None = None) -> str:
        """Cannot be done yet."""
        return self.download(root)

    def file(self, root: str | None = None) -> str:
        """Cannot be done yet."""
        return self.download(root)

    def link(self, target_path: str, aliases: Sequence[str] | None = None) -> Self:
        """Nothing is linked: there is no registry."""
        later.say("artifacts")
        return self

    def unlink(self) -> None:
        """Nothing is linked."""

    def delete(self, delete_aliases: bool = False) -> None:
        """Nothing is stored."""

    def _log(self, aliases: Sequence[str] | None = None, tags: Sequence[str] | None = None) -> Self:
        later.say("artifacts")
        self._logged = True
        self.aliases = [*(aliases or ()), *(() if "latest" in (aliases or ()) else ("latest",))]
        self.tags = list(tags or ())
        return self

    def __repr__(self) -> str:
        return f"<wandb.Artifact {self.name!r} type={self.type!r} files={self.file_count}>"


def made_of(artifact_or_path: Any, name: str | None, type: str | None, run_id: str) -> Artifact:
    """An artifact, or one made of the name of a file or folder."""
    if isinstance(artifact_or_path, Artifact):
        return artifact_or_path
    path = os.fspath(artifact_or_path)
    artifact = Artifact(name or f"run-{run_id}-{os.path.basename(path)}", type or "unspecified")
    if os.path.isdir(path):
        artifact.add_dir(path)
    elif os.path.isfile(path):
        artifact.add_file(path)
    else:
        artifact.add_reference(path)
    return artifact


def none_stored(name: object) -> CommError:
    """What `use_artifact` raises: nothing of that name is stored."""
    return CommError(f"artifact {name!r} is not in the lake: artifacts are not stored yet")
