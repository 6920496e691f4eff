"""The embedded demo model: a toy world with exact truth, its tasks, trainer, scorer and weights."""
