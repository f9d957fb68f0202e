"""Charts: pages and pictures that show what the result says."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import runlake


@pytest.fixture
def lake(store: Path) -> runlake.Lake:
    """Two runs of a falling loss; one has a spike, and one an accuracy too."""
    for id, lr in (("one", 0.1), ("two", 0.2)):
        with runlake.init(project="p", id=id, config={"lr": lr}) as run:
            run.log_many("loss", [99.0 if id == "two" and step == 555 else 1 / (step + 1) for step in range(1000)])
            if id == "one":
                run.log_many("accuracy", [0.5, math.nan, 0.75])
    return runlake.open()


def page(chart: runlake.Chart, path: Path) -> str:
    chart.save(path)
    return path.read_text(encoding="utf-8")


def drawn(html: str) -> list[dict[str, Any]]:
    """What the page tells plotly to draw."""
    start = html.index("Plotly.newPlot(")
    data, _ = json.JSONDecoder().raw_decode(html, html.index("[", start))
    return list(data)


def test_a_page_holds_the_values_and_needs_no_network(lake: runlake.Lake, tmp_path: Path) -> None:
    chart = lake.chart("*", buckets=10)
    html = page(chart, tmp_path / "x.html")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)\s*=", html)
    traces = drawn(html)
    lines = {(trace["name"], trace["yaxis"]): trace for trace in traces if trace["showlegend"] is not False}
    assert set(lines) == {("one", "y1"), ("two", "y2")}
    rows = [row for row in chart.to_dicts() if (row["run_id"], row["metric"]) == ("two", "loss")]
    assert lines["two", "y2"]["x"] == [row["x"] for row in rows]
    assert lines["two", "y2"]["y"] == [row["mean_value"] for row in rows]
    # The spike is in what is shaded, however wide the buckets are.
    assert max(max(trace["y"]) for trace in traces if trace["name"] == "two") == 99.0


def test_what_is_no_number_is_a_gap(lake: runlake.Lake, tmp_path: Path) -> None:
    points = lake.sql("select step, value from points where metric = 'accuracy' order by step").plot()
    assert drawn(page(points, tmp_path / "x.html"))[0]["y"] == [0.5, None, 0.75]
    points.save(tmp_path / "x.svg")


def test_a_page_zooms_and_its_panels_zoom_together(lake: runlake.Lake, tmp_path: Path) -> None:
    html = page(lake.chart("*", buckets=10), tmp_path / "x.html")
    assert '"scrollZoom": true' in html
    figure = lake.chart("*", buckets=10).to_plotly()
    assert (figure.layout.xaxis2.matches, figure.layout.dragmode) == ("x", "zoom")
    assert (figure.layout.yaxis.title.text, figure.layout.yaxis2.title.text) == ("accuracy", "loss")


def test_a_group_is_shaded_by_one_standard_error(lake: runlake.Lake, tmp_path: Path) -> None:
    chart = lake.chart("loss", group="project", buckets=1)
    (row,) = chart.to_dicts()
    low, high, mean = (trace["y"] for trace in drawn(page(chart, tmp_path / "x.html")))
    assert mean == [row["mean_value"]]
    assert (low, high) == ([mean[0] - row["stderr_value"]], [mean[0] + row["stderr_value"]])


def test_a_smoothed_chart_draws_the_smoothed_values(lake: runlake.Lake) -> None:
    chart = lake.chart("loss", runs="one", smooth=0.9, buckets=20)
    assert list(chart.to_plotly().data[-1].y) == [row["smooth_value"] for row in chart.to_dicts()]


def test_pictures_have_a_line_for_each_series(lake: runlake.Lake, tmp_path: Path) -> None:
    chart = lake.chart("loss", buckets=50)
    chart.save(tmp_path / "x.png", title="what it is")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    chart.save(tmp_path / "x.svg", log=True)
    assert ElementTree.parse(tmp_path / "x.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    (axes,) = chart._picture(None, True).axes
    assert [line.get_label() for line in axes.lines] == ["one", "two"]
    assert list(axes.lines[0].get_xdata()) == [row["x"] for row in chart.to_dicts() if row["run_id"] == "one"]
    assert (axes.get_yscale(), axes.get_ylabel(), axes.get_xlabel()) == ("log", "loss", "step")


def test_any_result_is_drawn(lake: runlake.Lake) -> None:
    points = lake.sql("select step, run_id, metric, value from points where metric = 'loss' order by run_id, step")
    first, second = points.plot().to_plotly().data
    assert (first.name, second.name, len(first.x), second.y[555]) == ("one", "two", 1000, 99.0)
    wide = lake.sql("select step, loss, accuracy from history('one')")
    assert [trace.name for trace in wide.plot().to_plotly().data] == ["loss", "accuracy"]
    assert [trace.name for trace in wide.plot(x="loss", y="step").to_plotly().data] == ["step"]
    assert repr(wide.plot()) == repr(wide)
    by_hand = lake.sql("select 'a' as who, 1 as n, 0.5 as v union all select 'b', 2, 0.25").plot(
        x="n", y=["v"], by="who"
    )
    assert sorted(trace.name for trace in by_hand.to_plotly().data) == ["a", "b"]
    times = lake.sql("select time, value from points where run_id = 'one'").plot()
    assert times.to_plotly().layout.xaxis.title.text == "time"


def test_what_cannot_be_drawn_says_why(lake: runlake.Lake, tmp_path: Path) -> None:
    with pytest.raises(runlake.InvalidArgument, match="no column lose: the result has step, value"):
        lake.sql("select step, value from points").plot(y="lose")
    with pytest.raises(runlake.InvalidArgument, match="no column of numbers"):
        lake.sql("select run_id from runs").plot()
    with pytest.raises(runlake.InvalidArgument, match=r"\.html, \.png or \.svg"):
        lake.chart("loss").save(tmp_path / "x.gif")


def test_a_notebook_shows_the_chart(lake: runlake.Lake) -> None:
    html = lake.chart("loss", buckets=10)._repr_html_()
    assert "Plotly.newPlot(" in html
    assert "<html>" not in html


@pytest.mark.parametrize(("library", "ending"), [("plotly", "html"), ("matplotlib", "png"), ("matplotlib", "svg")])
def test_a_missing_library_is_named(
    lake: runlake.Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, ending: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    chart = lake.chart("loss", buckets=10)
    with pytest.raises(ImportError, match=rf'{library}, which is not installed: pip install "runlake\[charts\]"'):
        chart.save(tmp_path / f"x.{ending}")
    if library == "plotly":
        assert "<table>" in chart._repr_html_()
        assert "pip install" in chart._repr_html_()
