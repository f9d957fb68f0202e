"""`wandb.plot`: charts, which are a table and how to draw it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runlake.as_wandb.media import WBValue
from runlake.as_wandb.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CustomChart(WBValue):
    """A table and how to draw it: the name of a chart, and which column is what in it."""

    def __init__(self, table: Table, spec: Mapping[str, Any]) -> None:
        self.table = table
        self.spec = spec

    def set_key(self, key: str) -> None:
        """Takes the key under which it is logged."""
        self.key = key


class Visualize(CustomChart):
    """A table and the name of a chart."""


def plot_table(
    vega_spec_name: str,
    data_table: Table,
    fields: dict[str, Any],
    string_fields: dict[str, Any] | None = None,
    split_table: bool = False,
) -> CustomChart:
    """A chart of your own: the name of its Vega specification, and which column is what in it."""
    if not isinstance(data_table, Table):
        raise ValueError(f"data_table: a wandb.Table is needed, not {type(data_table).__name__}")
    spec = {"name": vega_spec_name, "fields": fields, "strings": string_fields or {}, "split_table": split_table}
    return CustomChart(data_table, spec)


def visualize(id: str, value: Table) -> Visualize:
    """A chart by its name."""
    return Visualize(value, {"name": id})


def bar(table: Table, label: str, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Bars: a label and a length each."""
    return plot_table("bar", table, {"label": label, "value": value}, {"title": title}, split_table)


def histogram(table: Table, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """How the values of a column are spread."""
    return plot_table("histogram", table, {"value": value}, {"title": title}, split_table)


def line(
    table: Table, x: str, y: str, stroke: str | None = None, title: str = "", split_table: bool = False
) -> CustomChart:
    """A line through points."""
    fields = {"x": x, "y": y} | ({} if stroke is None else {"stroke": stroke})
    return plot_table("line", table, fields, {"title": title}, split_table)


def scatter(table: Table, x: str, y: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Points."""
    return plot_table("scatter", table, {"x": x, "y": y}, {"title": title}, split_table)


def line_series(
    xs: Iterable[Any],
    ys: Iterable[Iterable[Any]],
    keys: Iterable[str] | None = None,
    title: str = "",
    xname: str = "x",
    split_table: bool = False,
) -> CustomChart:
    """Several lines, over the same `xs` or each over its own."""
    lines = [list(line) for line in ys]
    abscissas = list(xs)
    if not abscissas or (not isinstance(abscissas[0], (list, tuple)) and not hasattr(abscissas[0], "__iter__")):
        abscissas = [abscissas] * len(lines)
    if len(abscissas) != len(lines):
        raise ValueError(f"line_series: {len(abscissas)} xs and {len(lines)} ys")
    names = [f"line_{index}" for index in range(len(lines))] if keys is None else list(keys)
    if len(names) != len(lines):
        raise ValueError(f"line_series: {len(names)} keys and {len(lines)} lines")
    rows = [
        [x, name, y]
        for name, line_xs, line_ys in zip(names, abscissas, lines, strict=True)
        for x, y in zip(line_xs, line_ys, strict=False)
    ]
    table = Table(columns=["step", "lineKey", "lineVal"], data=rows)
    fields = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    return plot_table("lineseries", table, fields, {"title": title, "xname": xname}, split_table)


def confusion_matrix(
    probs: Sequence[Sequence[float]] | None = None,
    y_true: Sequence[Any] | None = None,
    preds: Sequence[Any] | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> CustomChart:
    """How often each class was taken for each: from predictions, or from the likeliest of `probs`."""
    if (probs is None) == (preds is None):
        raise ValueError("confusion_matrix: give one of probs and preds")
    if probs is not None:
        preds = [max(range(len(row)), key=list(row).__getitem__) for row in probs]
    truth, guesses = list(y_true or ()), list(preds or ())
    if len(truth) != len(guesses):
        raise ValueError(f"confusion_matrix: {len(truth)} in y_true and {len(guesses)} predictions")
    classes = sorted({*truth, *guesses}) if class_names is None else list(range(len(class_names)))
    names = [f"Class_{index + 1}" for index in range(len(classes))] if class_names is None else list(class_names)
    counts = dict.fromkeys(((a, p) for a in classes for p in classes), 0)
    for pair in zip(truth, guesses, strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    rows = [
        [names[i], names[j], counts[actual, predicted]]
        for i, actual in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    table = Table(columns=["Actual", "Predicted", "nPredictions"], data=rows)
    fields = {name: name for name in table.columns}
    return plot_table("confusion_matrix", table, fields, {"title": title}, split_table)


def pr_curve(
    y_true: Iterable[Any] | None = None,
    y_probas: Any = None,
    labels: list[str] | None = None,
    classes_to_plot: list[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> CustomChart | None:
    """Precision over recall, a line for each class."""
    rows = _curves(y_true, y_probas, labels, classes_to_plot, _precision_recall)
    return None if rows is None else _curve_chart(rows, "recall", "precision", title, split_table)


def roc_curve(
    y_true: Sequence[Any],
    y_probas: Sequence[Sequence[float]] | None = None,
    labels: list[str] | None = None,
    classes_to_plot: list[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> CustomChart | None:
    """True over false positives, a line for each class."""
    rows = _curves(y_true, y_probas, labels, classes_to_plot, _rates)
    return None if rows is None else _curve_chart(rows, "fpr", "tpr", title, split_table)


def _curves(y_true: Any, y_probas: Any, labels: list[str] | None, only: list[Any] | None, points: Any) -> Any:
    if y_true is None or y_probas is None:
        return None
    truth = list(y_true)
    classes = sorted(set(truth))
    rows = []
    for index, each in enumerate(classes):
        if only is not None and each not in only:
            continue
        name = str(each) if labels is None else labels[index]
        pairs = sorted(((float(p[index]), t == each) for p, t in zip(y_probas, truth, strict=True)), reverse=True)
        rows += [[name, round(x, 3), round(y, 3)] for x, y in points(pairs)]
    return rows


def _precision_recall(pairs: list[tuple[float, bool]]) -> list[tuple[float, float]]:
    positives, hits, found = sum(hit for _, hit in pairs), 0, []
    for count, (_, hit) in enumerate(pairs, 1):
        hits += hit
        found.append((hits / max(positives, 1), hits / count))
    return found


def _rates(pairs: list[tuple[float, bool]]) -> list[tuple[float, float]]:
    positives = sum(hit for _, hit in pairs)
    negatives, hits, misses, found = len(pairs) - positives, 0, 0, [(0.0, 0.0)]
    for _, hit in pairs:
        hits, misses = hits + hit, misses + (not hit)
        found.append((misses / max(negatives, 1), hits / max(positives, 1)))
    return found


def _curve_chart(rows: list[list[Any]], x: str, y: str, title: str, split_table: bool) -> CustomChart:
    table = Table(columns=["class", x, y], data=rows)
    return plot_table("curve", table, {"x": x, "y": y, "class": "class"}, {"title": title}, split_table)
