"""Objects that can be logged."""

from runlake.as_wandb.histogram import Histogram
from runlake.as_wandb.media import (
    Audio,
    BoundingBoxes2D,
    Classes,
    Graph,
    Html,
    Image,
    ImageMask,
    Molecule,
    Object3D,
    Plotly,
    Video,
    WBValue,
    box3d,
)
from runlake.as_wandb.table import EvalTable, JoinedTable, Table

__all__ = [
    "Audio",
    "BoundingBoxes2D",
    "Classes",
    "EvalTable",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "ImageMask",
    "JoinedTable",
    "Molecule",
    "Object3D",
    "Plotly",
    "Table",
    "Video",
    "WBValue",
    "box3d",
]
