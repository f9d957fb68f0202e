"""Values of all kinds in a configuration."""

import numpy as np
import wandb

run = wandb.init(
    project="digits",
    config={
        "lr": 0.1,
        "layers": [64, 32],
        "pair": (1, 2),
        "model": {"width": 3, "inner": {"deep": True}},
        "name": "mlp",
        "none": None,
        "array": np.arange(3),
        "number": np.float32(0.5),
        "nested/slash": 1,
        "dotted.name": 2,
    },
)
print(run.config["lr"], run.config.layers, run.config["model"]["inner"], type(run.config["model"]).__name__)
print(sorted(run.config.keys()), len(dict(run.config)), "lr" in run.config, run.config.get("missing", 7))
run.finish()
