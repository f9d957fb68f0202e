"""Nested mappings."""

import wandb

run = wandb.init(project="digits")
run.log({"train": {"loss": 0.5, "by_class": {"cat": 0.1, "dog": 0.2}}, "flat": 1})
run.log({"train": {"loss": 0.4}, "train.extra": 3})
run.log({"a": {}, "b": {"c": {"d": {"e": 4}}}})
run.finish()
