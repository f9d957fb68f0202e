"""A summary that is set."""

import wandb

run = wandb.init(project="digits")
run.log({"loss": 0.5})
run.log({"loss": 0.4, "accuracy": 0.8})
run.summary["best_accuracy"] = 0.9
run.summary.update({"best_step": 7, "note": "good"})
wandb.summary["model"] = {"layers": 3, "size": {"mb": 1.5}}
run.summary["list"] = [1, 2, 3]
run.summary["loss"] = 0.1
print(run.summary["best_accuracy"], run.summary.get("missing"), sorted(run.summary.keys())[-4:])
print(run.summary["accuracy"], run.summary["loss"], run.summary["model"]["size"]["mb"])
run.finish()
