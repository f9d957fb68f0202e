"""Bytes a point: our segments beside the best hand-sorted Parquet files of the same points, in one run.

    parquet_size.py POINTS [--time] [--only REGEX]      real runs: CSV or Parquet with run, metric, step, value[, time]
    parquet_size.py --generated [--seed N]              64 runs that log 40 single-precision metrics a row

The layouts, which pyarrow writes with zstd, differ in sort order, in the encoding of values and of times, and in the
rows of a page. Ours is the lake after `runlake import points` and `runlake compact --gc-now`, measured in whole:
columns of segments, rollups, indexes, commits, facts. With --time, runs without times get made-up ones: a start for
each run, and the milliseconds that `train_time_ms` says (50 for each step where there is none) with two milliseconds
of jitter, one time for all metrics of a step.

Needs the package runlake (its command among it), duckdb, pyarrow and numpy. Exit code 1 where our data columns take
more than 1.02 times the best layout that is sorted by run, or rollups, indexes, commits and ends of files more than
0.3 bytes a point and 15 %.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MOST_DATA = 1.02
MOST_BESIDE_BYTES, MOST_BESIDE_SHARE = 0.3, 0.15

BY_RUN = "run, metric, step"
REST = "facts and all else"
LAYOUTS = {
    "order": [BY_RUN, "metric, run, step"],
    "value": ["PLAIN", "BYTE_STREAM_SPLIT", "DICTIONARY"],
    "time": ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
    "page_rows": [16_384, 131_072],
}


def generated(seed: int) -> pa.Table:
    """64 runs of 2,000 rows: 40 metrics a row that wander as losses do, at times with microseconds of jitter."""
    random = np.random.default_rng(seed)
    rows, metrics = 2_000, 40
    steps = np.arange(rows, dtype=np.int64) * 10
    parts = []
    for run in range(64):
        start = 1_700_000_000_000_000 + run * 3_600_000_000
        time = start + np.cumsum(random.integers(180_000, 220_000, rows))
        for metric in range(metrics):
            decay = 8 * np.exp(-steps / random.uniform(2_000, 9_000)) + random.uniform(0.1, 3)
            value = (decay * (1 + 0.03 * random.standard_normal(rows))).astype(np.float32)
            names = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(rows, np.int32)), [f"layers/{metric:02}/grad_norm"]
            )
            runs = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [f"llm-{run:02}"])
            parts.append(
                pa.table(
                    {
                        "run": runs.cast(pa.string()),
                        "metric": names.cast(pa.string()),
                        "step": steps,
                        "value": value.astype(np.float64),
                        "time": time,
                    }
                )
            )
    return pa.concat_tables(parts)


def points(database: duckdb.DuckDBPyConnection, arguments: argparse.Namespace) -> None:
    """Makes the table `points` (run, metric, step, value[, time]) in the order of logging."""
    if arguments.generated:
        database.register("made", generated(arguments.seed))
        database.execute("create table points as select * from made")
        return
    path = str(arguments.points)
    if path.endswith(".parquet"):
        source = f"read_parquet('{path}')"
    else:
        source = f"read_csv('{path}', nullstr='', types={{'value': 'DOUBLE', 'step': 'BIGINT'}})"
    has_time = "time" in [row[0] for row in database.execute(f"describe from {source}").fetchall()]
    database.execute(
        f"create table points as select run, metric, step, value"
        f"{', time' if has_time and arguments.time else ''} from {source} where value is not null"
    )
    if arguments.time and not has_time:
        database.execute("""
            create or replace table points as
            with clock as (
                select run, step,
                    1700000000000000 + (hash(run) % 1000000000)::bigint * 1000
                    + (max(if(metric = 'train_time_ms' and not isnan(value), value, step * 50)) * 1000)::bigint
                    + (hash(run, step, 7) % 2000)::bigint as time
                from points group by run, step
            )
            select points.*, time from points join clock using (run, step)
        """)
    database.execute("delete from points where not regexp_full_match(metric, ?)", [arguments.only])


def columns_of(paths: list[Path]) -> dict[str, int]:
    """The compressed bytes of each column."""
    sizes: dict[str, int] = {}
    for path in paths:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            for at in range(metadata.num_columns):
                column = metadata.row_group(group).column(at)
                name = column.path_in_schema
                sizes[name] = sizes.get(name, 0) + column.total_compressed_size
    return sizes


def layouts(database: duckdb.DuckDBPyConnection, has_time: bool, count: int, folder: Path) -> dict[str, float]:
    """Writes and prints every layout. Returns the least bytes a point for each sort order."""
    best: dict[str, float] = {}
    times = LAYOUTS["time"] if has_time else ["-"]
    for order in LAYOUTS["order"]:
        table = database.execute(f"select * from points order by {order}").to_arrow_table()
        for value, time, page_rows in itertools.product(LAYOUTS["value"], times, LAYOUTS["page_rows"]):
            encodings = {"step": "DELTA_BINARY_PACKED"}
            names = ["run", "metric"]
            if value == "DICTIONARY":
                names.append("value")
            else:
                encodings["value"] = value
            if has_time:
                encodings["time"] = time
            path = folder / "layout.parquet"
            pq.write_table(
                table,
                path,
                compression="zstd",
                compression_level=3,
                row_group_size=1 << 20,
                data_page_size=page_rows * 8,
                max_rows_per_page=page_rows,
                use_dictionary=names,
                dictionary_pagesize_limit=1 << 26,
                column_encoding=encodings,
            )
            sizes = columns_of([path])
            bytes_a_point = sum(sizes.values()) / count
            parts = " ".join(f"{name} {size / count:.3f}" for name, size in sizes.items())
            print(f"{order:20} value {value:17} time {time:19} page {page_rows:6} {bytes_a_point:7.3f} B  {parts}")
            best[order] = min(best.get(order, bytes_a_point), bytes_a_point)
    return best


def lake_of(database: duckdb.DuckDBPyConnection, has_time: bool, command: Path, folder: Path) -> Path:
    """Imports the points into a new lake and compacts it."""
    source, lake = folder / "points.parquet", folder / "runs.lake"
    database.execute(f"copy points to '{source}' (format parquet)")
    columns = ["--run-column", "run", "--metric-column", "metric", "--step-column", "step", "--value-column", "value"]
    if has_time:
        columns += ["--time-column", "time", "--time-unit", "us"]
    imported = [str(command), "--store", str(lake), "import", "points", str(source), "--project", "size", *columns]
    subprocess.run(imported, check=True, stdout=sys.stderr)
    compacted = [str(command), "--store", str(lake), "compact", "--gc-now"]
    subprocess.run(compacted, check=True, stdout=sys.stderr)
    source.unlink()
    return lake


def size(path: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main() -> int:
    """Reads the arguments and compares in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="?", type=Path, help="CSV, gzipped CSV or Parquet")
    parser.add_argument("--time", action="store_true", help="with times")
    parser.add_argument("--only", default=".*", metavar="REGEX", help="metrics to keep")
    parser.add_argument("--generated", action="store_true", help="a generated set, which has times")
    parser.add_argument("--seed", type=int, default=1, help="of the generated set")
    command = Path(sysconfig.get_path("scripts")) / "runlake"
    parser.add_argument(
        "--command", type=Path, default=command, help="the command runlake [default: that of the package]"
    )
    arguments = parser.parse_args()
    if arguments.generated == bool(arguments.points):
        parser.error("name a file of points, or give --generated")
    folder = Path(tempfile.mkdtemp(prefix="runlake-size-"))
    try:
        return compare(arguments, folder)
    finally:
        shutil.rmtree(folder)


def compare(arguments: argparse.Namespace, folder: Path) -> int:
    """Prints the layouts, ours, and the bars; 0 where these are met."""
    database = duckdb.connect(config={"threads": 2})
    points(database, arguments)
    has_time = arguments.time or arguments.generated
    count, series = database.execute("select count(*), count(distinct (run, metric)) from points").fetchone()
    print(f"{count:,} points, {series:,} series")
    best = layouts(database, has_time, count, folder)
    lake = lake_of(database, has_time, arguments.command, folder)
    table = lake / "tables" / "points"
    segments = sorted([*table.glob("l0/*.parquet"), *table.glob("l1/*.parquet")])
    rows = sum(pq.read_metadata(path).num_rows for path in segments)
    if rows != count:
        raise SystemExit(f"the lake has {rows:,} points")
    sizes = columns_of(segments)
    data = sum(sizes.values()) / count
    parts = " ".join(f"{name} {size / count:.3f}" for name, size in sizes.items())
    print(f"{'ours':79}{data:7.3f} B  {parts}")
    beside = {
        "ends of segments": sum(path.stat().st_size for path in segments) - sum(sizes.values()),
        "indexes": size(table / "_index"),
        "rollups": size(table / "_rollups"),
        "commits": size(table / "_delta_log"),
        REST: size(lake) - size(table),
    }
    whole = size(lake) / count
    for name, bytes_ in beside.items():
        print(f"  {name:20} {bytes_ / count:7.4f} B")
    rest = sum(bytes_ for name, bytes_ in beside.items() if name != REST) / count
    ratio, share = data / best[BY_RUN], rest / data
    print(f"whole lake {whole:.3f} B a point; {len(segments)} segments")
    print(f"data columns: {ratio:.3f} of the best layout by run ({best[BY_RUN]:.3f} B); bar {MOST_DATA}")
    print(f"beside them: {rest:.3f} B a point, {share:.1%}; bar {MOST_BESIDE_BYTES} B or {MOST_BESIDE_SHARE:.0%}")
    print(json.dumps({"points": count, "data": data, "best_by_run": best[BY_RUN], "whole": whole}))
    is_met = ratio <= MOST_DATA and (rest <= MOST_BESIDE_BYTES or share <= MOST_BESIDE_SHARE)
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
