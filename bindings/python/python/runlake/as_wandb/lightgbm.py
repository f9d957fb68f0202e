"""`wandb.integration.lightgbm`: a callback, and what is left to say after training."""

from __future__ import annotations

from runlake.as_wandb import boosting, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Callback:
    """Logs the measures of each round, as `data_metric`."""

    def __init__(self, log_params: bool = True, define_metric: bool = True) -> None:
        self.order = 20
        self.before_iteration = False
        self.log_params = log_params
        self.define_metric = define_metric
        self._begun = False

    def _begin(self, env: Any) -> None:
        run = session.current("wandb_callback")
        if self.log_params:
            run.config.update(env.params, allow_val_change=True)
        for data, metric, *_ in env.evaluation_result_list:
            if self.define_metric:
                boosting.define(run, f"{data}_{metric}", metric)
        self._begun = True

    def __call__(self, env: Any) -> None:
        if not self._begun:
            self._begin(env)
        row = {}
        for data, metric, value, _, *deviation in env.evaluation_result_list:
            # `lightgbm.cv` gives a mean and how far the folds are from it.
            ending = "-mean" if deviation else ""
            row[f"{data}_{metric}{ending}"] = value
            if deviation:
                row[f"{data}_{metric}-stdv"] = deviation[0]
        session.current("log").log({**row, "iteration": env.iteration})


def wandb_callback(log_params: bool = True, define_metric: bool = True) -> Callable[[Any], None]:
    """A callback for `lightgbm.train` and `lightgbm.cv`.

    Args:
        log_params: whether the parameters of training become part of the configuration.
        define_metric: whether the summary has the best value of each measure, in the stead of the last.
    """
    return _Callback(log_params, define_metric)


def log_summary(model: Any, feature_importance: bool = True, save_model_checkpoint: bool = False) -> None:
    """Sets `best_iteration` and `best_score` in the summary.

    Args:
        model: a `lightgbm.Booster`.
        feature_importance: whether a chart of the features is logged.
        save_model_checkpoint: whether the model is logged as an artifact.
    """
    run = session.current("log_summary")
    run.summary["best_iteration"] = model.best_iteration
    run.summary["best_score"] = {data: dict(scores) for data, scores in model.best_score.items()}
    if save_model_checkpoint:
        boosting.log_model(run, model, f"model_ckpt_{model.best_iteration}.txt", f"model_{run.id}")
    if feature_importance:
        importance = zip(model.feature_name(), model.feature_importance().tolist(), strict=True)
        boosting.log_importance(run, importance)
