"""Calls that cannot be meant so, and what they raise."""

import wandb


def raised(what, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith(("wandb", "runlake"))]
        print(what, kinds or type(error).__name__)


raised(1, wandb.log, {"a": 1})
raised(2, lambda: wandb.config.lr)
raised(3, lambda: wandb.summary["a"])
raised(4, wandb.define_metric, "a")
run = wandb.init(project="digits")
raised(5, run.log, [1, 2])
raised(6, run.log, None)
raised(7, run.log, {1: 2})
raised(8, run.define_metric, "")
raised(9, run.define_metric, "a*b")
raised(10, run.define_metric, "a", summary="sum")
raised(11, run.define_metric, "a", hidden="yes")
run.log({"a": 1})
run.finish()
raised(12, run.log, {"a": 2})
raised(13, run.define_metric, "b")
raised(14, wandb.log, {"a": 1})
