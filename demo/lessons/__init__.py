"""Lessons: what the demo model can be taught within minutes, as data sets, and what it then knows."""
