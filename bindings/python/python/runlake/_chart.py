"""`Chart`: a result that is drawn, by plotly as a page and by matplotlib as a picture."""

from __future__ import annotations

from runlake import _native
from runlake._errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any

    from runlake._native import Relation

# Those of Okabe and Ito, which people who see few colours tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f5539", "#4d4d4d")

# Beyond so many points a page draws with the graphics card.
_MANY = 20_000


class Chart(_native.Relation):
    """A result that can be drawn: `save` writes it to a file, and a notebook shows it.

    It is a `Relation` with all that one has. `Lake.chart` returns one, and `Relation.plot` makes one of any result.
    Pages need plotly, pictures matplotlib: `pip install "runlake[charts]"`.
    """

    def __new__(
        cls,
        relation: Relation,
        x: str | None = None,
        y: str | Iterable[str] | None = None,
        by: str | Iterable[str] | None = None,
        *,
        axis: str | None = None,
        query: str | None = None,
    ) -> Chart:
        chart = super().__new__(cls, relation)
        column, chart._curves = _curves(relation, x, _names(y), _names(by))
        chart._axis, chart._query = axis or column, query
        return chart

    _axis: str
    _query: str | None
    _curves: list[_Curve]

    def save(self, path: str | os.PathLike[str], *, title: str | None = None, log: bool = False) -> None:
        """Draws it to a file, of the kind that the name ends with.

        `.html` is one page that needs nothing else, also without a network: it zooms, and tells what lies under the
        mouse. `.png` and `.svg` are pictures. A line is drawn for each series, and around it from the least to the
        greatest value of each bucket; around a group one standard error to either side of its mean.

        Args:
            path: the file; one that is there is written over.
            title: what stands above it.
            log: a logarithmic axis of values.

        Raises:
            InvalidArgument: the name ends with something else.
            ImportError: plotly or matplotlib is missing; the message says how to install it.

        >>> import os, runlake, tempfile
        >>> with runlake.init(project="digits") as run:
        ...     run.log_many("loss", [1 / (step + 1) for step in range(10_000)])
        >>> file = os.path.join(tempfile.mkdtemp(), "loss.html")
        >>> runlake.open().chart("loss").save(file)
        >>> os.path.exists(file)
        True
        """
        import os

        ending = os.path.splitext(path)[1].lower()
        if ending == ".html":
            io = _library("plotly.io", "plotly")
            page = {"include_plotlyjs": True, "validate": False, "config": {"scrollZoom": True, "responsive": True}}
            io.write_html(self._figure(title, log), file=os.fspath(path), **page)
        elif ending in (".png", ".svg"):
            self._picture(title, log).savefig(path, dpi=150)
        else:
            raise InvalidArgument(f"a chart is saved as .html, .png or .svg, not as {os.fspath(path)!r}")

    def to_plotly(self) -> Any:
        """The chart as a `plotly.graph_objects.Figure`, to be changed and shown by plotly."""
        return _library("plotly.graph_objects", "plotly").Figure(self._figure(None, False), _validate=False)

    def _panels(self) -> list[str]:
        """The metrics, each of which has axes of its own."""
        return list(dict.fromkeys(curve.panel for curve in self._curves))

    def _colours(self) -> dict[str, str]:
        names = dict.fromkeys(curve.name for curve in self._curves)
        return {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}

    def _figure(self, title: str | None, log: bool) -> dict[str, Any]:
        """What plotly draws."""
        panels, colours = self._panels(), self._colours()
        many = sum(len(curve.x) for curve in self._curves) > _MANY
        told: set[str] = set()
        traces: list[dict[str, Any]] = []
        for curve in self._curves:
            place = panels.index(curve.panel) + 1
            common = {
                "type": "scattergl" if many else "scatter",
                "mode": "lines" if len(curve.x) > 1 else "markers",
                "x": curve.x,
                "xaxis": f"x{place}",
                "yaxis": f"y{place}",
                "name": curve.name,
                "legendgroup": curve.name,
            }
            if curve.low:
                edge = {**common, "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
                fill = {"fill": "tonexty", "fillcolor": colours[curve.name] + "33"}
                traces += [{**edge, "y": curve.low}, {**edge, **fill, "y": curve.high}]
            line = {"color": colours[curve.name], "width": 1.5}
            traces.append({**common, "y": curve.y, "line": line, "showlegend": curve.name not in told})
            told.add(curve.name)
        layout: dict[str, Any] = {
            "title": {"text": title or ""},
            "grid": {"rows": max(len(panels), 1), "columns": 1, "pattern": "independent"},
            "hovermode": "closest",
            "dragmode": "zoom",
        }
        for place, panel in enumerate(panels, 1):
            layout[f"xaxis{place}"] = {"title": {"text": self._axis}, "matches": None if place == 1 else "x"}
            layout[f"yaxis{place}"] = {"title": {"text": panel}, "type": "log" if log else "linear"}
        return {"data": traces, "layout": layout}

    def _picture(self, title: str | None, log: bool) -> Any:
        """What matplotlib draws. Its own state is left alone, so that it also works where there is no screen."""
        panels, colours = self._panels(), self._colours()
        rows = max(len(panels), 1)
        figure = _library("matplotlib.figure", "matplotlib").Figure(figsize=(9, 1.5 + 3 * rows), layout="constrained")
        for axes, panel in zip(figure.subplots(rows, sharex=True, squeeze=False)[:, 0], panels or [""], strict=True):
            for curve in (curve for curve in self._curves if curve.panel == panel):
                colour, mark = colours[curve.name], "." if len(curve.x) == 1 else ""
                axes.plot(curve.x, _gaps(curve.y), color=colour, label=curve.name, linewidth=1.2, marker=mark)
                if curve.low:
                    low, high = _gaps(curve.low), _gaps(curve.high)
                    axes.fill_between(curve.x, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.set(ylabel=panel, yscale="log" if log else "linear")
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(self._axis)
        if title:
            figure.suptitle(title)
        # A legend of more lines than there are colours tells nobody which is which.
        if 1 < len(colours) <= 2 * len(_COLOURS):
            lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
            figure.legend(lines.values(), lines.keys(), loc="outside right upper", frameon=False)
        return figure

    def _repr_html_(self) -> str:
        """The chart for notebooks; the table where plotly is missing."""
        try:
            io = _library("plotly.io", "plotly")
        except ImportError as missing:
            return f"{super()._repr_html_()}\n<p>{missing}</p>"
        page: str = io.to_html(self._figure(None, False), include_plotlyjs=True, full_html=False, validate=False)
        return page


class _Curve:
    """One line: its places, its values, and the edges of what is shaded around it."""

    def __init__(self, panel: str, name: str) -> None:
        self.panel, self.name = panel, name
        self.x: list[Any] = []
        self.y: list[float | None] = []
        self.low: list[float | None] = []
        self.high: list[float | None] = []


def _curves(relation: Relation, x: str | None, y: list[str] | None, by: list[str] | None) -> tuple[str, list[_Curve]]:
    """The column of the places, and the curves, in the order of the rows."""
    columns, types = relation.columns, relation.types
    numbers = [name for name, type in zip(columns, types, strict=True) if type.startswith(("Int", "UInt", "Float"))]
    texts = [name for name, type in zip(columns, types, strict=True) if type in ("Utf8", "Utf8View", "LargeUtf8")]
    times = [name for name, type in zip(columns, types, strict=True) if type.startswith("Timestamp")]
    x = x or next((name for name in ("x", "step", "time", *times, *numbers) if name in columns), None)
    buckets = y is None and {"bucket", "mean_value", "min_value", "max_value"} <= set(columns)
    if buckets:
        y = ["smooth_value" if "smooth_value" in columns else "mean_value"]
    y = y if y is not None else [name for name in numbers if name != x]
    by = by if by is not None else [name for name in texts if name not in (x, "metric")]
    wrong = [name for name in (x, *y, *by) if name is not None and name not in columns]
    if x is None or not y or wrong:
        what = f"there is no column {', '.join(wrong)}" if wrong else "there is no column of numbers to draw"
        raise InvalidArgument(f"{what}: the result has {', '.join(columns)}")

    place = {name: number for number, name in enumerate(columns)}
    of_metric = place.get("metric")
    # Around a group stands how well its mean is known, around a series what its points reach.
    spread = place["stderr_value"] if buckets and "stderr_value" in place else None
    edges = (place["min_value"], place["max_value"]) if buckets and spread is None else None
    parts: dict[tuple[Any, ...], _Curve] = {}
    for row in relation:
        for name in y:
            key = (None if of_metric is None else row[of_metric], name, *(row[place[column]] for column in by))
            curve = parts.get(key)
            if curve is None:
                curve = parts[key] = _Curve(name if key[0] is None else str(key[0]), "")
            value = row[place[name]]
            curve.x.append(row[place[x]])
            curve.y.append(value)
            if edges is not None:
                curve.low.append(row[edges[0]])
                curve.high.append(row[edges[1]])
            elif spread is not None:
                error = row[spread] or 0.0
                curve.low.append(None if value is None else value - error)
                curve.high.append(None if value is None else value + error)
    # A curve is called by what tells it from the others.
    varied = [number for number in range(1, 2 + len(by)) if len({key[number] for key in parts}) > 1]
    for key, curve in parts.items():
        curve.name = " ".join(str(key[number]) for number in varied if key[number] is not None) or str(key[-1])
    return x, list(parts.values())


def _names(names: str | Iterable[str] | None) -> list[str] | None:
    return None if names is None else [names] if isinstance(names, str) else list(names)


def _gaps(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _library(module: str, package: str) -> ModuleType:
    """A module of an optional package."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as cause:
        message = f'this needs {package}, which is not installed: pip install "runlake[charts]"'
        raise ImportError(message, name=package) from cause
