"""Objects beside numbers."""

import numpy as np
import wandb

run = wandb.init(project="digits")
table = wandb.Table(columns=["a", "b"], data=[[1, "x"]])
table.add_data(2, "y")
table.add_column("c", [0.5, 0.6])
print(table.columns, table.data, table.get_column("a"))
histogram = wandb.Histogram(np.arange(10), num_bins=5)
print([int(count) for count in histogram.histogram], [float(edge) for edge in histogram.bins])
run.log({"loss": 0.5, "spread": histogram})
run.log({"loss": 0.4, "spread": wandb.Histogram(np_histogram=([1, 2], [0.0, 0.5, 1.0]))})
run.log({"loss": 0.3, "page": wandb.Html("<p>text</p>")})
run.finish()
