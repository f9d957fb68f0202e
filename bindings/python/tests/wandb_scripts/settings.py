"""Settings in the place of arguments."""

import wandb

settings = wandb.Settings(
    project="digits", run_name="of settings", run_group="g", run_job_type="j", run_tags=["t"], x_disable_stats=True
)
with wandb.init(settings=settings, notes="n") as run:
    print(run.name, run.group, run.job_type, run.tags, run.notes, run.settings.run_group)
with wandb.init(project="other", settings={"run_name": "of a dict"}) as run:
    print(run.name, run.project)
try:
    wandb.Settings(no_such_setting=1)
except ValueError:
    print("no such setting")
