"""Artifacts."""

from runlake.as_wandb.artifact import Artifact, ArtifactManifestEntry, ArtifactTTL

__all__ = ["Artifact", "ArtifactManifestEntry", "ArtifactTTL"]
