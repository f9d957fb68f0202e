"""Names of all sorts."""

import wandb

run = wandb.init(project="Ziffern ä-ö")
run.log(
    {"Verlust ä": 1, "損失": 2, "with space": 3, "a/b/c": 4, "a-b": 5, "a.b": 6, "%": 7, "x" * 200: 8, "'quoted\"": 9}
)
run.finish()
