"""The toy world: scenes drawn from data, tasks with exact answers, and the judge."""
