"""Alerts, and what else is said beside numbers."""

import wandb

run = wandb.init(project="digits")
run.alert("Loss", "it is high", level=wandb.AlertLevel.WARN, wait_duration=60)
wandb.alert(title="Loss", text="it is higher")
run.mark_preempting()
run.log({"loss": 9})
run.finish()
