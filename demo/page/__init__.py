"""`python dev.py demo`: the shipped workflows with toy pictures in them, and the page of their answers."""
