"""`wandb.integration.keras`: callbacks for Keras 3, on any of its backends."""

from __future__ import annotations

import os
import string

import keras  # type: ignore[import-not-found, unused-ignore]

from runlake.as_wandb import session
from runlake.as_wandb.artifact import Artifact
from runlake.as_wandb.errors import Error
from runlake.as_wandb.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class WandbMetricsLogger(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Logs what Keras measures, as `epoch/loss` and so on, and with `log_freq` as `batch/loss` too.

    Args:
        log_freq: `epoch`, `batch`, or after how many batches.
        initial_global_step: at which batch training begins, where it goes on.
    """

    def __init__(self, log_freq: str | int = "epoch", initial_global_step: int = 0, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        run = session.current("WandbMetricsLogger")
        if log_freq == "batch":
            log_freq = 1
        self.logging_batch_wise = isinstance(log_freq, int)
        self.log_freq = log_freq if isinstance(log_freq, int) else None
        self.global_step = self.global_batch = initial_global_step
        if self.logging_batch_wise:
            run.define_metric("batch/batch_step")
            run.define_metric("batch/*", step_metric="batch/batch_step")
        else:
            run.define_metric("epoch/epoch")
            run.define_metric("epoch/*", step_metric="epoch/epoch")

    def _learning_rate(self) -> dict[str, float]:
        try:
            return {"learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))}
        except (AttributeError, TypeError, ValueError):
            return {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the epoch."""
        values = {**(logs or {}), "epoch": epoch, **self._learning_rate()}
        session.current("log").log({f"epoch/{name}": value for name, value in values.items()})

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the batch, where batches are logged and it is time to."""
        self.global_step += 1
        if self.log_freq is not None and batch % self.log_freq == 0:
            values = {**(logs or {}), "batch_step": self.global_batch, **self._learning_rate()}
            session.current("log").log({f"batch/{name}": value for name, value in values.items()})
            self.global_batch += self.log_freq


class WandbModelCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc, unused-ignore]
    """`keras.callbacks.ModelCheckpoint`, each of whose files is logged as a version of the artifact `run_ID_model`."""

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filepath=filepath,
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
            **kwargs,
        )
        session.current("WandbModelCheckpoint")
        self._formatted = any(field for _, field, _, _ in string.Formatter().parse(str(filepath)))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the file, where one was written after this batch."""
        if self._should_save_on_batch(batch):
            self._save_model(epoch=self._current_epoch, batch=batch, logs=logs)
            self._log_file(self._get_file_path(epoch=self._current_epoch, batch=batch, logs=logs), [f"batch_{batch}"])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the file, where one was written after this epoch."""
        super().on_epoch_end(epoch, logs)
        if self.save_freq == "epoch":
            self._log_file(self._get_file_path(epoch=epoch, batch=None, logs=logs), [f"epoch_{epoch}"])

    def _log_file(self, path: Any, aliases: list[str]) -> None:
        if os.path.exists(path):
            run = session.current("log_artifact")
            run.log_artifact(os.fspath(path), f"run_{run.id}_model", "model", [*aliases, "latest"])


class WandbEvalCallback(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """The base of a callback of yours that fills tables with what a model should and does answer.

    Args:
        data_table_columns: the columns of the table that `add_ground_truth` fills.
        pred_table_columns: the columns of the table that `add_model_predictions` fills after each epoch.
    """

    def __init__(self, data_table_columns: list[str], pred_table_columns: list[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        session.current("WandbEvalCallback")
        self.data_table_columns = data_table_columns
        self.pred_table_columns = pred_table_columns

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the first table, and logs it."""
        self.init_data_table(self.data_table_columns)
        self.add_ground_truth(logs)
        self.log_data_table()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Makes the table of the epoch, and logs it."""
        self.init_pred_table(self.pred_table_columns)
        self.add_model_predictions(epoch, logs)
        self.log_pred_table()

    def add_ground_truth(self, logs: dict[str, Any] | None = None) -> None:
        """Fills `self.data_table`; yours to write."""
        raise NotImplementedError(f"{type(self).__name__} has to define add_ground_truth, which fills self.data_table")

    def add_model_predictions(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Fills `self.pred_table`; yours to write."""
        raise NotImplementedError(
            f"{type(self).__name__} has to define add_model_predictions, which fills self.pred_table"
        )

    def init_data_table(self, column_names: list[str]) -> None:
        """Makes `self.data_table`."""
        self.data_table = Table(columns=list(column_names))

    def init_pred_table(self, column_names: list[str]) -> None:
        """Makes `self.pred_table`."""
        self.pred_table = Table(columns=list(column_names))

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        """Logs `self.data_table`."""
        artifact = Artifact(name, type)
        artifact.add(self.data_table, table_name)
        session.current("log_artifact").log_artifact(artifact)
        self.data_table_ref = self.data_table

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: list[str] | None = None
    ) -> None:
        """Logs `self.pred_table`."""
        run = session.current("log_artifact")
        artifact = Artifact(f"run_{run.id}_pred", type)
        artifact.add(self.pred_table, table_name)
        run.log_artifact(artifact, aliases=aliases or ["latest"])


class WandbCallback:
    """wandb's first callback for Keras 2, which is not here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise Error("WandbCallback is for Keras 2; use WandbMetricsLogger and WandbModelCheckpoint")
