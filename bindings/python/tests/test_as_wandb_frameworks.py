"""The callbacks of frameworks for wandb run unmodified on `runlake.as_wandb`, and what they log is in the lake.

`make frameworks` installs the frameworks and runs these; they are several GB, so `make test` leaves them out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runlake

pytestmark = pytest.mark.skipif("RUNLAKE_FRAMEWORKS" not in os.environ, reason="make frameworks runs it")

WANDB = os.environ.get("RUNLAKE_WANDB", "")
"""The folder of the wandb that is installed beside, whose own callbacks run on ours too."""

Train = Callable[..., runlake.Lake]


@pytest.fixture
def train(store: Path, tmp_path: Path) -> Train:
    """Runs a program with `import wandb` in it, and returns the lake."""

    def run(source: str, *launcher: str) -> runlake.Lake:
        script = tmp_path / "train.py"
        script.write_text(source)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        done = subprocess.run(
            [sys.executable, "-m", "runlake.as_wandb", *launcher, str(script)],
            env={
                **environment,
                "RUNLAKE_STORE": str(store),
                "KERAS_BACKEND": "jax",
                "CUDA_VISIBLE_DEVICES": "",
                "HF_HUB_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return runlake.open(store)

    return run


def series(lake: runlake.Lake) -> dict[str, list[tuple[int, float]]]:
    """The points of each metric of the only run, by step."""
    found: dict[str, list[tuple[int, float]]] = {}
    for metric, step, value in lake.sql("select metric, step, value from points order by metric, step").fetchall():
        found.setdefault(metric, []).append((step, value))
    return found


def values(lake: runlake.Lake, metric: str) -> list[float]:
    return [value for _, value in series(lake)[metric]]


def test_the_trainer_of_transformers(train: Train) -> None:
    lake = train(
        """
import os
os.environ.update(WANDB_LOG_MODEL="checkpoint", WANDB_WATCH="all")
import torch
from transformers import Trainer, TrainingArguments

class Data(torch.utils.data.Dataset):
    def __len__(self): return 64
    def __getitem__(self, index):
        return {"x": torch.tensor([index / 64.0]), "labels": torch.tensor([index / 32.0])}

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def forward(self, x, labels=None):
        out = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(out, labels), "logits": out}

arguments = TrainingArguments(
    output_dir="out", report_to="wandb", run_name="from-transformers", num_train_epochs=2, logging_steps=2,
    per_device_train_batch_size=8, eval_strategy="epoch", save_strategy="epoch", use_cpu=True,
)
Trainer(model=Model(), args=arguments, train_dataset=Data(), eval_dataset=Data()).train()
"""
    )
    run = lake.run()
    # The project is what the callback takes where $WANDB_PROJECT is not set.
    assert (run.state, run.project, run.name) == ("finished", "huggingface", "from-transformers")
    assert values(lake, "train/global_step")[-1] == 16
    assert len(values(lake, "train/loss")) == 8
    assert len(values(lake, "eval/loss")) == 2
    assert run.config["num_train_epochs"] == 2
    assert run.summary["train/global_step"] == 16


def test_the_logger_of_lightning(train: Train) -> None:
    lake = train(
        """
import torch, lightning
from lightning.pytorch.loggers import WandbLogger

class Model(lightning.LightningModule):
    def __init__(self, width=3):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, width)
    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss
    def validation_step(self, batch, index):
        self.log("val/loss", self.layer(batch[0]).square().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(32, 4)), batch_size=8)
logger = WandbLogger(project="digits", name="from lightning", log_model=True)
logger.watch
trainer = lightning.Trainer(
    logger=logger, max_epochs=3, accelerator="cpu", log_every_n_steps=1, enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Model(), data, data)
logger.log_table("samples", columns=["a"], data=[[1]])
assert logger.version == logger.experiment.id
"""
    )
    run = lake.run()
    assert (run.state, run.project, run.name) == ("finished", "digits", "from lightning")
    assert len(values(lake, "train/loss_step")) == 12
    assert len(values(lake, "val/loss")) == 3
    assert values(lake, "trainer/global_step")[-1] == 11
    assert run.config == {"width": 3}


def test_the_tracker_of_accelerate(train: Train) -> None:
    lake = train(
        """
import torch
from accelerate import Accelerator

accelerator = Accelerator(log_with="wandb", cpu=True)
accelerator.init_trackers("digits", config={"lr": 0.1}, init_kwargs={"wandb": {"name": "from accelerate"}})
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer = accelerator.prepare(model, optimizer)
for step in range(5):
    loss = model(torch.ones(4, 2)).square().mean()
    accelerator.backward(loss)
    optimizer.step()
    accelerator.log({"loss": loss.item(), "raw": loss.detach()}, step=step)
accelerator.get_tracker("wandb").log_table("t", columns=["a"], data=[[1]])
accelerator.end_training()
"""
    )
    run = lake.run()
    assert (run.state, run.project, run.name) == ("finished", "digits", "from accelerate")
    assert [step for step, _ in series(lake)["loss"]] == [0, 1, 2, 3, 4]
    assert values(lake, "raw") == values(lake, "loss")
    assert run.config == {"lr": 0.1}


KERAS = """
import keras, numpy as np, wandb
from wandb.integration.keras import WandbEvalCallback, WandbMetricsLogger, WandbModelCheckpoint

assert keras.backend.backend() == "jax"
run = wandb.init(project="digits", name="from keras", config=dict(width=4))
x, y = np.random.rand(64, 3).astype("float32"), np.random.rand(64, 1).astype("float32")
model = keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.125), loss="mse", metrics=["mae"])

class Answers(WandbEvalCallback):
    def add_ground_truth(self, logs=None):
        for index in range(3): self.data_table.add_data(index, float(y[index, 0]))
    def add_model_predictions(self, epoch, logs=None):
        for index in range(3): self.pred_table.add_data(epoch, index, float(model(x[index:index + 1])[0, 0]))

model.fit(
    x, y, validation_data=(x, y), epochs=3, batch_size=16, verbose=0,
    callbacks=[
        WandbMetricsLogger(log_freq={freq!r}),
        WandbModelCheckpoint("model.keras", save_best_only=False),
        Answers(["index", "truth"], ["epoch", "index", "answer"]),
    ],
)
wandb.finish()
"""


def test_the_callbacks_for_keras_on_jax(train: Train) -> None:
    lake = train(KERAS.format(freq="epoch"))
    run = lake.run()
    assert (run.state, run.name) == ("finished", "from keras")
    assert values(lake, "epoch/epoch") == [0, 1, 2]
    assert values(lake, "epoch/learning_rate") == [0.125] * 3
    for metric in ("epoch/loss", "epoch/mae", "epoch/val_loss", "epoch/val_mae"):
        assert len(values(lake, metric)) == 3


def test_the_callbacks_for_keras_by_batch(train: Train) -> None:
    lake = train(KERAS.format(freq=2))
    # Four batches an epoch, of which every second is logged.
    assert values(lake, "batch/batch_step") == [0, 2, 4, 6, 8, 10]
    assert len(values(lake, "batch/loss")) == 6
    assert len(values(lake, "epoch/loss")) == 3


LIGHTGBM = """
import lightgbm, numpy as np, wandb
{imports}

rng = np.random.default_rng(0)
x = rng.random((200, 4)); y = (x[:, 0] > 0.5).astype(int)
train, valid = lightgbm.Dataset(x[:150], y[:150]), lightgbm.Dataset(x[150:], y[150:])
wandb.init(project="digits", name="from lightgbm")
model = lightgbm.train(
    {{"objective": "binary", "metric": ["binary_logloss", "auc"], "verbose": -1, "num_leaves": 4}}, train,
    num_boost_round=8, valid_sets=[valid], valid_names=["valid"], callbacks=[wandb_callback()],
)
log_summary(model, save_model_checkpoint=True)
wandb.finish()
"""

XGBOOST = """
import numpy as np, xgboost, wandb
{imports}

rng = np.random.default_rng(0)
x = rng.random((200, 4)); y = (x[:, 0] > 0.5).astype(int)
train, valid = xgboost.DMatrix(x[:150], y[:150]), xgboost.DMatrix(x[150:], y[150:])
wandb.init(project="digits", name="from xgboost")
xgboost.train(
    {{"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "max_depth": 2}}, train, 8,
    evals=[(train, "train"), (valid, "valid")], callbacks=[WandbCallback(log_model=True)], verbose_eval=False,
    early_stopping_rounds=5,
)
wandb.finish()
"""

OURS = {
    "lightgbm": "from wandb.integration.lightgbm import log_summary, wandb_callback",
    "xgboost": "from wandb.integration.xgboost import WandbCallback",
}


def theirs(file: str, names: str) -> str:
    """Imports from a module of the wandb that is installed beside, which finds ours as `wandb`."""
    return (
        "import importlib.util, sys\n"
        f"file = {os.path.join(WANDB, 'integration', file)!r}\n"
        "spec = importlib.util.spec_from_file_location('theirs', file)\n"
        "module = sys.modules['theirs'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        f"from theirs import {names}"
    )


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_the_callback_for_lightgbm(train: Train, whose: str) -> None:
    imports = OURS["lightgbm"] if whose == "ours" else theirs("lightgbm/__init__.py", "log_summary, wandb_callback")
    lake = train(LIGHTGBM.format(imports=imports))
    run = lake.run()
    assert (run.state, run.name) == ("finished", "from lightgbm")
    assert values(lake, "iteration") == list(range(8))
    assert len(values(lake, "valid_binary_logloss")) == len(values(lake, "valid_auc")) == 8
    assert run.config["objective"] == "binary"
    assert run.summary["best_score"]["valid"]["auc"] == values(lake, "valid_auc")[-1]


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_the_callback_for_xgboost(train: Train, whose: str) -> None:
    imports = OURS["xgboost"] if whose == "ours" else theirs("xgboost/xgboost.py", "WandbCallback")
    lake = train(XGBOOST.format(imports=imports))
    run = lake.run()
    assert (run.state, run.name) == ("finished", "from xgboost")
    assert values(lake, "epoch") == list(range(len(values(lake, "epoch"))))
    for metric in ("train-logloss", "train-auc", "valid-logloss", "valid-auc"):
        assert len(values(lake, metric)) == len(values(lake, "epoch"))
    assert run.config["learner"]["objective"]["name"] == "binary:logistic"
    assert len(values(lake, "best_score")) == 1


def test_the_callback_for_ray_tune(train: Train) -> None:
    lake = train(
        """
import os, ray
from ray import tune
from ray.air.integrations.wandb import WandbLoggerCallback

def objective(config):
    for step in range(4):
        tune.report({"loss": config["lr"] / (step + 1)})

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
tune.Tuner(
    objective, param_space={"lr": tune.grid_search([0.5, 1.0])},
    run_config=tune.RunConfig(
        storage_path=os.path.abspath("results"), verbose=0,
        callbacks=[WandbLoggerCallback(project="digits", group="from ray", api_key="0" * 40, log_config=True)],
    ),
).fit()
ray.shutdown()
"""
    )
    runs = lake.sql("select run_id, group_name, state from runs where project = 'digits'").fetchall()
    assert [(group, state) for _, group, state in runs] == [("from ray", "finished")] * 2
    finals = lake.sql("select last_value from series where metric = 'loss' order by last_value").fetchall()
    assert finals == [(0.125,), (0.25,)]


def test_ranks_of_torchrun(train: Train) -> None:
    lake = train(
        """
import torch, torch.distributed as dist, wandb

dist.init_process_group("gloo")
rank = dist.get_rank()
run = wandb.init(project="digits", group="ranks", name=f"rank {rank}")
for step in range(3):
    total = torch.tensor([float(rank + step)])
    dist.all_reduce(total)
    run.log({"total": total})
run.finish()
dist.destroy_process_group()
""",
        *("-m", "torch.distributed.run", "--nproc-per-node", "2"),
    )
    rows = lake.sql(
        "select r.name, r.group_name, p.step, p.value from points p join runs r on r.run_id = p.run_id order by 1, 3"
    ).fetchall()
    assert rows == [(f"rank {rank}", "ranks", step, 2.0 * step + 1) for rank in (0, 1) for step in range(3)]
