"""What scripts stored under wandb, offline, and what they store under `runlake.as_wandb`, in one form.

    python wandb_oracle.py VENV/bin/python            # compares what that wandb stores with what is recorded
    python wandb_oracle.py --record VENV/bin/python   # records it, in wandb_scripts/stored.json

wandb's files are read by wandb's own reader, `wandb leet inspect`. Of both sides there is: what the script printed
and how it ended; and of each run its attributes, its configuration, its rows, its summary, and what was said of its
metrics. Numbers are compared as numbers (`True` is 1), nested keys joined by dots. Left out are wandb's own keys, which
begin with `_`, and its objects.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "wandb_scripts"
RECORDED = SCRIPTS / "stored.json"


def names() -> list[str]:
    """The scripts."""
    return sorted(path.stem for path in SCRIPTS.glob("*.py"))


def recorded() -> dict[str, Any]:
    """What wandb stored, by script."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))["scripts"]


def under_wandb(name: str, python: str) -> dict[str, Any]:
    """Runs a script under the wandb of another Python."""
    with tempfile.TemporaryDirectory() as folder:
        done = _run([python, str(SCRIPTS / f"{name}.py")], folder)
        logs = sorted(Path(folder).glob("wandb/offline-run-*/*.wandb"))
        runs = [_folded(_records(log, python)) for log in logs]
    runs.sort(key=lambda run: run.pop("started"))
    return {**done, "runs": runs}


def under_runlake(name: str) -> dict[str, Any]:
    """Runs a script under `runlake.as_wandb`."""
    with tempfile.TemporaryDirectory() as folder:
        done = _run([sys.executable, "-m", "runlake.as_wandb", str(SCRIPTS / f"{name}.py")], folder)
        store = os.path.join(folder, "runs.lake")
        return {**done, "runs": _in_lake(store) if os.path.exists(store) else []}


def _run(command: list[str], folder: str) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "RUNLAKE_"))}
    environment |= {"WANDB_MODE": "offline", "WANDB_CONSOLE": "off", "RUNLAKE_STORE": f"{folder}/runs.lake"}
    # A folder of the network that a home holds, and a git repository that the folder is in, are no part of the script.
    environment |= {"WANDB_DISABLE_GIT": "true", "HOME": folder}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    # At the end of a program that did not finish its run, wandb says goodbye on stdout.
    printed = [line for line in done.stdout.splitlines() if "wandb" not in line]
    return {"printed": printed, "code": done.returncode, "said": done.stderr}


def _records(log: Path, python: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [python, "-m", "wandb", "leet", "inspect", "--json", str(log)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _folded(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A run out of the records of its file."""
    attributes: dict[str, Any] = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    rows: dict[int, dict[str, Any]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    exit_code = None
    for record in records:
        kind = record["type"]
        said = record.get(kind, {})
        if kind == "run":
            attributes |= {key: value for key, value in said.items() if value}
            config |= said.get("config", {}).get("update", {})
        elif kind == "config":
            config |= said.get("update", {})
        elif kind == "summary":
            for key, value in said.get("update", {}).items():
                # What is set takes the place of what was nested under the same key.
                for old in [old for old in summary if old.startswith(f"{key}.")]:
                    del summary[old]
                summary[key] = value
        elif kind == "history":
            row = rows.setdefault(said["step"]["num"], {})
            row |= said["item"]
        elif kind == "metric" and not said.get("expanded_from_glob"):
            name = said.get("name") or said["glob_name"]
            metrics[name] = said if said.get("_control", {}).get("overwrite") else _merged(metrics.get(name, {}), said)
        elif kind == "exit":
            exit_code = said.get("exit_code", 0)
    return {
        "started": attributes["start_time"],
        "attributes": {
            "project": attributes.get("project"),
            "name": attributes.get("display_name"),
            "notes": attributes.get("notes"),
            "group": attributes.get("run_group"),
            "job_type": attributes.get("job_type"),
            "tags": sorted(attributes.get("tags", [])),
            "exit_code": exit_code,
        },
        "config": _flat(config),
        "summary": _flat(summary),
        "rows": [[step, row] for step in sorted(rows) if (row := _flat(rows[step]))],
        "metrics": {
            name: {
                "step_metric": said.get("step_metric"),
                "hidden": bool(said.get("options", {}).get("hidden")),
                "summary": sorted(key for key, on in said.get("summary", {}).items() if on and key != "none"),
            }
            for name, said in sorted(metrics.items())
        },
    }


def _in_lake(store: str) -> list[dict[str, Any]]:
    """The runs of a lake."""
    import runlake

    lake = runlake.open(store)
    runs = []
    for row in lake.sql("select * from runs order by created_at, run_id").to_dicts():
        key = f"{row['project']}/{row['run_id']}"
        history = lake.history(key).to_dicts()
        runs.append(
            {
                "attributes": {
                    "project": row["project"],
                    "name": row["name"],
                    "notes": row["notes"],
                    "group": row["group_name"],
                    "job_type": row["job_type"],
                    "tags": sorted(row["tags"] or []),
                    "exit_code": row["exit_code"],
                },
                "config": _flat(json.loads(row["config"] or "{}")),
                "summary": _flat(json.loads(row["summary"] or "{}")),
                "rows": [
                    [
                        line.pop("step"),
                        {name: value for name, value in line.items() if value is not None and name != "time"},
                    ]
                    for line in history
                ],
                "metrics": _defined(lake, row),
            }
        )
    return runs


def _merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """A record over an earlier one, as wandb puts them together."""
    inner = {key: _merged(before.get(key, {}), value) for key, value in after.items() if isinstance(value, dict)}
    return {**before, **after, **inner}


def _defined(lake: Any, row: dict[str, Any]) -> dict[str, Any]:
    """What was said of the metrics of a run."""
    condition = f"project = '{row['project']}' and run_id = '{row['run_id']}'"
    return {
        line["metric"]: {
            "step_metric": line["step_metric"],
            "hidden": bool(line["hidden"]),
            "summary": sorted(line["summary"] or []),
        }
        for line in lake.sql(f"select * from metrics where {condition} order by metric").to_dicts()
    }


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, without wandb's own and without what is an object of wandb's."""
    flat: dict[str, Any] = {}
    if "_type" in nested:
        return flat
    objects = {key.removesuffix("._type") for key in nested if key.endswith("._type")}
    for key, value in nested.items():
        if (not prefix and key.startswith("_")) or any(key == each or key.startswith(f"{each}.") for each in objects):
            continue
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(wandb: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """What wandb stored and we did not, or otherwise; a line each."""
    found = []
    for key in ("printed", "code"):
        if wandb[key] != ours[key]:
            found.append(f"{key}: {wandb[key]!r}, ours {ours[key]!r}")
    if len(wandb["runs"]) != len(ours["runs"]):
        return [*found, f"runs: {len(wandb['runs'])}, ours {len(ours['runs'])}"]
    for number, (theirs, run) in enumerate(zip(wandb["runs"], ours["runs"], strict=True)):
        where = f"run {number}"
        found += _unequal(f"{where} attributes", _given(theirs["attributes"]), run["attributes"], extra=True)
        found += _unequal(f"{where} config", theirs["config"], run["config"])
        found += _unequal(f"{where} summary", theirs["summary"], run["summary"])
        found += _unequal(f"{where} metrics", theirs["metrics"], run["metrics"])
        found += _unequal(f"{where} rows", _points(theirs["rows"]), _points(run["rows"]))
    return found


def _given(attributes: dict[str, Any]) -> dict[str, Any]:
    """Without what was not given: a run without a name has none offline, and one of ours is made up."""
    return {key: value for key, value in attributes.items() if value is not None}


def _points(rows: list[list[Any]]) -> dict[str, Any]:
    """The numbers of rows, by step and name."""
    points = {}
    for step, row in rows:
        for name, value in row.items():
            number = _NOT_FINITE.get(value, value) if isinstance(value, str) else value
            if isinstance(number, (int, float)):
                points[f"step {step}: {name}"] = number
    return points


_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How wandb's reader spells them."""


def _unequal(where: str, theirs: dict[str, Any], ours: dict[str, Any], extra: bool = False) -> list[str]:
    found = []
    for key in theirs.keys() | (set() if extra else ours.keys()):
        if key not in ours:
            found.append(f"{where}: {key} = {theirs[key]!r} is not in ours")
        elif key not in theirs:
            found.append(f"{where}: {key} = {ours[key]!r} is only in ours")
        elif not _same(theirs[key], ours[key]):
            found.append(f"{where}: {key} = {theirs[key]!r}, ours {ours[key]!r}")
    return sorted(found)


def _same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, (int, float)) and isinstance(ours, (int, float)):
        both_nan = math.isnan(theirs) and math.isnan(ours)
        return both_nan or float(theirs) == float(ours)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_same, theirs, ours))
    return bool(theirs == ours)


def kept(result: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a script: all but what changes with each start."""
    return {key: value for key, value in result.items() if key != "said"}


def main(arguments: list[str]) -> int:
    """Compares what a wandb stores with what is recorded, or records it."""
    python = arguments[-1]
    version = subprocess.run(
        [python, "-c", "import wandb; print(wandb.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with ThreadPoolExecutor(max_workers=3) as pool:
        stored = dict(zip(names(), pool.map(lambda name: under_wandb(name, python), names()), strict=True))
    for name, result in stored.items():
        if result["code"] and not name.startswith("exit_by_"):
            raise AssertionError(f"{name} ended with {result['code']} under wandb {version}: {result['said']}")
    if "--record" in arguments:
        text = json.dumps(
            {"wandb": version, "scripts": {name: kept(result) for name, result in stored.items()}},
            indent=1,
            ensure_ascii=False,
        )
        RECORDED.write_text(text + "\n", encoding="utf-8")
        print(f"{len(stored)} scripts recorded, of wandb {version}")
        return 0
    before = recorded()
    changed = {name: found for name in stored if (found := differences(before[name], stored[name]))}
    for name, lines in changed.items():
        print(name, *lines, sep="\n    ")
    print(f"{len(stored) - len(changed)} of {len(stored)} scripts store under wandb {version} what is recorded")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
