"""A wide row."""

import wandb

run = wandb.init(project="digits")
for step in range(3):
    run.log({f"layer_{index}/norm": index * 0.5 + step for index in range(500)})
run.finish()
