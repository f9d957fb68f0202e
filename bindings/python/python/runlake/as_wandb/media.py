"""Images, audio and the like: what a program makes of them is held, and is not stored yet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self


class WBValue:
    """The base of all objects that `wandb.log` takes beside numbers and text."""


class Media(WBValue):
    """The base of what will be stored in files.

    Attributes:
        data: what the object was made of.
        format: the form of the file, where one was named.
    """

    data: Any = None
    format: str | None = None
    _caption: str | None = None

    def __init__(self, data: Any = None, caption: str | None = None) -> None:
        self.data = data
        self._caption = caption
        if isinstance(data, (str, os.PathLike)) and os.path.splitext(data)[1]:
            self.format = os.path.splitext(data)[1][1:]

    @property
    def caption(self) -> str | None:
        """The caption."""
        return self._caption

    def __repr__(self) -> str:
        return f"<wandb.{type(self).__name__} of {type(self.data).__name__}>"


class BatchableMedia(Media):
    """The base of media of which a list can be logged under one key."""


class Image(BatchableMedia):
    """An image: the name of a file, a `PIL.Image`, an array, a figure or another `Image`.

    Args:
        data_or_path: the image.
        mode: as `PIL.Image` names it, such as `L` or `RGBA`.
        caption: a caption.
        grouping: of how many images this is one.
        classes: names of classes, for boxes and masks.
        boxes: boxes, by name.
        masks: masks, by name.
        file_type: the form of the file, such as `png`.
        normalize: whether an array between 0 and 1 is scaled to 255.
    """

    MAX_ITEMS = 108
    MAX_DIMENSION = 65500

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Classes | Sequence[Mapping[str, Any]] | None = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__(data_or_path, caption)
        if isinstance(data_or_path, Image):
            self.data, self.format = data_or_path.data, data_or_path.format
        self.mode = mode
        self.grouping = grouping
        self.classes = classes
        self.boxes = boxes
        self.masks = masks
        self.normalize = normalize
        self.format = file_type or self.format or "png"

    @property
    def image(self) -> Any:
        """The `PIL.Image`, where the object was made of one or of the name of a file."""
        if isinstance(self.data, (str, os.PathLike)):
            from PIL import Image as Pillow  # type: ignore[import-not-found, unused-ignore]

            return Pillow.open(self.data)
        return self.data

    @classmethod
    def all_captions(cls, images: Iterable[Media]) -> list[str | None] | bool:
        """The captions of several, or False where none has one."""
        captions = [image.caption for image in images]
        return captions if any(captions) else False


class Audio(BatchableMedia):
    """A sound: the name of a file, or samples and how many of them make a second."""

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        super().__init__(data_or_path, caption)
        if not isinstance(data_or_path, (str, os.PathLike)) and sample_rate is None:
            raise ValueError("Audio: samples need sample_rate=, how many of them make a second")
        self.sample_rate = sample_rate


class Video(BatchableMedia):
    """A film: the name of a file, its bytes, or an array of frames."""

    EXTS = ("gif", "mp4", "webm", "ogg")

    def __init__(
        self, data_or_path: Any, caption: str | None = None, fps: int | None = None, format: str | None = None
    ) -> None:
        super().__init__(data_or_path, caption)
        self.fps = fps
        self.format = format or self.format or "gif"
        if self.format not in self.EXTS:
            raise ValueError(f"Video: format {self.format!r} is none of {', '.join(self.EXTS)}")


class Html(BatchableMedia):
    """A page: its text, the name of a file, or a file that is open."""

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False) -> None:
        if hasattr(data, "read"):
            data = data.read()
        elif not data_is_not_path and os.path.splitext(str(data))[1] == ".html" and os.path.isfile(data):
            with open(data, encoding="utf-8") as file:
                data = file.read()
        super().__init__(data)
        self.inject = inject
        self.format = "html"

    @property
    def html(self) -> str:
        """The text."""
        return str(self.data)


class Object3D(BatchableMedia):
    """A body: the name of a file, an array of points, or a dict of points, boxes and vectors."""

    SUPPORTED_TYPES = frozenset({"obj", "gltf", "glb", "babylon", "stl", "pts.json"})
    SUPPORTED_POINT_CLOUD_TYPES = frozenset({"lidar/beta"})

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_or_path, caption)
        self.format = kwargs.get("file_type") or self.format

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Self:
        """One from a file."""
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_numpy(cls, data: Any) -> Self:
        """One from an array of points."""
        return cls(data)

    @classmethod
    def from_point_cloud(
        cls, points: Any, boxes: Any = (), vectors: Any = None, point_cloud_type: str = "lidar/beta"
    ) -> Self:
        """One from points, boxes around them and vectors."""
        return cls({"type": point_cloud_type, "points": points, "boxes": boxes, "vectors": vectors})


class Molecule(BatchableMedia):
    """A molecule: the name of a file, or one that is open."""

    SUPPORTED_TYPES = frozenset({"pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf"})
    SUPPORTED_RDKIT_TYPES = frozenset({"mol", "sdf"})

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: str) -> None:
        super().__init__(data_or_path, caption)
        self.format = kwargs.get("file_type") or self.format

    @classmethod
    def from_rdkit(
        cls,
        data_or_path: Any,
        caption: str | None = None,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Self:
        """One from a molecule of RDKit."""
        return cls(data_or_path, caption)

    @classmethod
    def from_smiles(
        cls,
        data: str,
        caption: str | None = None,
        sanitize: bool = True,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Self:
        """One from its SMILES text."""
        return cls(data, caption)


class Plotly(Media):
    """A figure of Plotly or Matplotlib."""

    def __init__(self, val: Any) -> None:
        super().__init__(val)

    @classmethod
    def make_plot_media(cls, val: Any) -> Media:
        """The object for a figure."""
        return cls(val)


class Graph(Media):
    """A graph of nodes and edges, as of the layers of a model."""

    def __init__(self, format: str = "keras") -> None:
        super().__init__()
        self.format = format
        self.nodes: list[Any] = []
        self.edges: list[tuple[Any, Any]] = []

    def add_node(self, node: Any = None, **node_kwargs: Any) -> Any:
        """Adds a node."""
        node = node_kwargs if node is None else node
        self.nodes.append(node)
        return node

    def add_edge(self, from_node: Any, to_node: Any) -> tuple[Any, Any]:
        """Adds an edge."""
        self.edges.append((from_node, to_node))
        return from_node, to_node

    @classmethod
    def from_keras(cls, model: Any) -> Self:
        """The layers of a model of Keras, one after the other."""
        graph = cls()
        for layer in model.layers:
            graph.add_node(name=layer.name, class_name=type(layer).__name__)
        for before, after in zip(graph.nodes, graph.nodes[1:], strict=False):
            graph.add_edge(before, after)
        return graph


class Classes(Media):
    """Names of classes: dicts with `id` and `name`."""

    def __init__(self, class_set: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(class_set)
        for one in class_set:
            if "id" not in one or "name" not in one:
                raise ValueError(f"Classes: each needs id and name, which {one!r} has not")


class ImageMask(Media):
    """A mask over an image."""

    def __init__(self, val: Mapping[str, Any], key: str) -> None:
        super().__init__(val)
        self.key = key


class BoundingBoxes2D(Media):
    """Boxes on an image."""

    def __init__(self, val: Mapping[str, Any], key: str) -> None:
        super().__init__(val)
        self.key = key


def box3d(
    *, center: Any, size: Any, orientation: Any, color: Any, label: str | None = None, score: float | None = None
) -> dict[str, Any]:
    """A box in space, for `Object3D`."""
    box = {"center": center, "size": size, "orientation": orientation, "color": color, "label": label, "score": score}
    return {key: value for key, value in box.items() if value is not None}


def is_media(value: object) -> bool:
    """Whether a value is an object of wandb's, a figure, or a list that begins with one."""
    if isinstance(value, (list, tuple)) and value:
        value = value[0]
    if isinstance(value, WBValue):
        return True
    module: str = type(value).__module__
    return module.partition(".")[0] in ("PIL", "matplotlib", "plotly") or type(value).__name__ == "DataFrame"
