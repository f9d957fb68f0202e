"""Environment variables in the place of arguments."""

import os

import wandb

os.environ.update(
    WANDB_PROJECT="digits",
    WANDB_NAME="from the environment",
    WANDB_RUN_ID="variables1",
    WANDB_RUN_GROUP="group",
    WANDB_JOB_TYPE="eval",
    WANDB_NOTES="notes",
    WANDB_TAGS="one,two",
)
run = wandb.init(job_type="train")
print(run.project, run.name, run.id, run.group, run.job_type, run.notes, sorted(run.tags))
run.log({"a": 1})
run.finish()
