"""`allow_val_change` of `init` is about the configuration that `init` is given."""

import wandb

run = wandb.init(project="digits", config={"lr": 0.1}, allow_val_change=True)
try:
    run.config.lr = 0.2
except wandb.Error:
    print("lr stays", run.config.lr)
run.config.update({"lr": 0.3}, allow_val_change=True)
print(run.config.lr)
run.finish()
