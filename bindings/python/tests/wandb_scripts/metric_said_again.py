"""A metric of which something is said twice."""

import wandb

run = wandb.init(project="digits")
run.define_metric("a", summary="min", hidden=True)
run.define_metric("a", summary="max")
run.define_metric("b", summary="min", step_metric="x")
run.define_metric("b", summary="max", overwrite=True)
run.define_metric("c", step_metric=run.define_metric("x"))
for value in (2, 1, 3):
    run.log({"a": value, "b": value, "c": value, "x": value * 10})
run.finish()
