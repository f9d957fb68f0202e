"""Several runs, one after the other."""

import wandb

for number in range(3):
    run = wandb.init(project="digits", name=f"run {number}", config={"number": number})
    run.log({"value": number})
    wandb.log({"value": number + 0.5})
    print(run.step, wandb.run is run)
    wandb.finish()
print(wandb.run)
