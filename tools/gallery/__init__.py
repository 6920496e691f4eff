"""Builds the workflows, the subgraph blueprint and their pictures from short descriptions."""
