"""Numbers of all kinds."""

import numpy as np
import wandb

run = wandb.init(project="digits")
run.log({"int": 3, "float": 0.1, "true": True, "false": False, "negative": -0.0})
run.log({"float16": np.float16(1.5), "float32": np.float32(0.1), "float64": np.float64(0.1)})
run.log({"int8": np.int8(-5), "uint64": np.uint64(7), "bool": np.bool_(True), "array": np.array(2.5)})
run.log({"none": None, "beside": 1})
run.log({"large": 2**53, "small": 5e-324, "great": 1e308})
run.finish()
