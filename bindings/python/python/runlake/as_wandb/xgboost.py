"""`wandb.integration.xgboost`: a callback."""

from __future__ import annotations

import json

import xgboost  # type: ignore[import-not-found, unused-ignore]

from runlake.as_wandb import boosting, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class WandbCallback(xgboost.callback.TrainingCallback):  # type: ignore[misc, unused-ignore]
    """Logs the measures of each round, as `data-metric`, and the configuration of the booster.

    Args:
        log_model: whether the model is logged as an artifact.
        log_feature_importance: whether a chart of the features is logged.
        importance_type: what counts as important, as `Booster.get_score` names it.
        define_metric: whether the summary has the best value of each measure, in the stead of the last.
    """

    def __init__(
        self,
        log_model: bool = False,
        log_feature_importance: bool = True,
        importance_type: str = "gain",
        define_metric: bool = True,
    ) -> None:
        super().__init__()
        self.log_model = log_model
        self.log_feature_importance = log_feature_importance
        self.importance_type = importance_type
        self.define_metric = define_metric
        self._defined: set[str] = set()
        session.current("WandbCallback")

    def before_training(self, model: Any) -> Any:
        """Keeps the configuration of the booster."""
        session.current("config").config.update(json.loads(model.save_config()), allow_val_change=True)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Logs a round."""
        run = session.current("log")
        row: dict[str, Any] = {}
        for data, measures in evals_log.items():
            for metric, values in measures.items():
                name = f"{data}-{metric}"
                if self.define_metric and name not in self._defined:
                    self._defined.add(name)
                    boosting.define(run, name, metric)
                last = values[-1]
                # `xgboost.cv` gives a mean and how far the folds are from it.
                row[name] = last[0] if isinstance(last, tuple) else last
        run.log({**row, "epoch": epoch})
        return False

    def after_training(self, model: Any) -> Any:
        """Logs the model, its features and its best round, as far as they are wanted and known."""
        run = session.current("log")
        if self.log_model:
            boosting.log_model(run, model, f"{run.id}_model.json", f"{run.id}_model.json")
        if self.log_feature_importance:
            importance = model.get_score(importance_type=self.importance_type)
            boosting.log_importance(run, importance.items())
        if model.attr("best_score") is not None:
            run.log(
                {"best_score": float(model.attr("best_score")), "best_iteration": int(model.attr("best_iteration"))}
            )
        return model


def wandb_callback() -> Any:
    """Wandb's first callback, for XGBoost before 1.3; it is `WandbCallback` now."""
    return WandbCallback()
