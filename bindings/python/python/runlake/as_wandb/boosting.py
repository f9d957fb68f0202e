"""What the callbacks of LightGBM and XGBoost have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable

from runlake.as_wandb import plot
from runlake.as_wandb.run import Run
from runlake.as_wandb.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LESS_IS_BETTER = ("loss", "error", "rmse", "mae", "mape", "l1", "l2", "poisson", "gamma", "deviance", "likelihood")


def define(run: Run, name: str, metric: str) -> None:
    """The summary has the best value of a metric, as far as its name says which that is."""
    if metric.endswith(_LESS_IS_BETTER) or "loss" in metric or "err" in metric:
        run.define_metric(name, summary="min")
    else:
        run.define_metric(name, summary="max")


def log_importance(run: Run, importance: Iterable[tuple[str, Any]]) -> None:
    """Logs how much each feature matters, as a chart."""
    table = Table(columns=["Feature", "Importance"], data=[list(each) for each in importance])
    run.log({"Feature Importance": plot.bar(table, "Feature", "Importance", title="Feature Importance")}, commit=False)


def log_model(run: Run, model: Any, file: str, name: str) -> None:
    """Saves a model in the folder of the run, and logs it."""
    path = os.path.join(run.dir, file)
    model.save_model(path)
    run.log_artifact(path, name, "model")
