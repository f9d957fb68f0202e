"""Artifacts of files."""

from pathlib import Path

import wandb

run = wandb.init(project="digits")
Path("folder").mkdir()
Path("folder/weights.txt").write_text("1 2 3")
Path("notes.txt").write_text("notes")
artifact = wandb.Artifact("model", type="model", description="weights", metadata={"layers": 3})
artifact.add_dir("folder")
artifact.add_file("notes.txt", name="docs/notes.txt")
with artifact.new_file("made.txt") as file:
    file.write("made")
print(artifact.name, artifact.type, artifact.metadata, sorted(artifact.manifest.entries), artifact.size)
run.log_artifact(artifact, aliases=["best"])
run.log({"a": 1})
run.finish()
try:
    wandb.Artifact("bad name!", type="model")
except ValueError:
    print("a bad name")
