"""A pile of pictures without labels, made of the toy world, and what the data engine finds in it."""
