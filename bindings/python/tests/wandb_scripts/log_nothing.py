"""Empty rows move the run on."""

import wandb

run = wandb.init(project="digits")
run.log({})
run.log({"a": 1})
run.log({}, commit=False)
run.log({"a": 2})
run.log({}, step=9)
run.log({"a": 3})
print(run.step)
run.finish()
