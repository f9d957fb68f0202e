"""Text and lists beside numbers."""

import numpy as np
import wandb

run = wandb.init(project="digits")
for step in range(3):
    run.log({"loss": step * 0.5, "phase": f"phase {step}", "rates": [0.1, 0.2, step]})
run.log({"loss": 2, "few": np.arange(4), "pair": (1, 2), "inner": {"note": "ok", "value": 3}})
run.finish()
