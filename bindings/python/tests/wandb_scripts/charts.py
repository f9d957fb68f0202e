"""Charts beside numbers."""

import wandb

run = wandb.init(project="digits")
table = wandb.Table(columns=["x", "y"], data=[[1, 2], [3, 4]])
for chart in (
    wandb.plot.line(table, "x", "y", title="line"),
    wandb.plot.scatter(table, "x", "y"),
    wandb.plot.bar(table, "x", "y"),
    wandb.plot.histogram(table, "x"),
    wandb.plot.line_series(xs=[0, 1, 2], ys=[[1, 2, 3], [4, 5, 6]], keys=["a", "b"]),
    wandb.plot.confusion_matrix(y_true=[0, 1, 1], preds=[0, 1, 0], class_names=["cat", "dog"]),
):
    print(type(chart).__name__, chart.table.columns, len(chart.table.data))
run.log({"loss": 1.0})
run.finish()
