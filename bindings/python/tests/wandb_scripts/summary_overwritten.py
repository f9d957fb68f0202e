"""A metric that is logged after the summary was set."""

import wandb

run = wandb.init(project="digits")
run.summary["loss"] = 9.0
run.log({"loss": 0.5})
run.log({"accuracy": 0.5})
run.summary["accuracy"] = 0.9
print(run.summary["accuracy"])
run.finish()
