"""A run of which nothing is kept."""

import wandb

run = wandb.init(project="digits", mode="disabled", config={"lr": 0.1})
run.log({"a": 1})
run.config.update({"b": 2})
run.summary["c"] = 3
run.define_metric("a", summary="max")
print(run.disabled, run.config["lr"], run.summary["c"], wandb.run is run)
wandb.finish()
