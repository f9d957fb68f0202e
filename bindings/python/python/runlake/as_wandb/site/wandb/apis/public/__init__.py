"""Reading runs."""

from runlake.as_wandb.api import Api, Project, Projects, Run, Runs

__all__ = ["Api", "Project", "Projects", "Run", "Runs"]
