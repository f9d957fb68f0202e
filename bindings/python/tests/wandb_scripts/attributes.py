"""What people call a run, given and changed."""

import wandb

run = wandb.init(
    project="digits",
    entity="team",
    name="first",
    notes="a note",
    tags=["b", "a"],
    group="sweep",
    job_type="train",
    id="attributes1",
)
print(run.id, run.name, run.notes, sorted(run.tags), run.group, run.job_type, run.project, run.entity, run.path)
run.name = "second"
run.notes = "another"
run.tags += ("c",)
print(run.name, run.notes, sorted(run.tags), run.resumed, run.offline, run.disabled, run.url, run.sweep_id)
run.log({"a": 1})
run.finish()
