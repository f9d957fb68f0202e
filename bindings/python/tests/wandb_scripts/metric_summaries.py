"""What the summary has of a metric."""

import wandb

run = wandb.init(project="digits")
run.define_metric("least", summary="min")
run.define_metric("most", summary="max")
run.define_metric("mean", summary="mean")
run.define_metric("last", summary="last")
run.define_metric("first", summary="first")
run.define_metric("both", summary="min,max")
run.define_metric("quiet", summary="none")
for value in (3.0, 1.0, 2.0):
    run.log(dict.fromkeys(("least", "most", "mean", "last", "first", "both", "quiet", "plain"), value))
run.finish()
