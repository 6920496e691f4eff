"""Starting points: phrasings of instructions, and example pictures. Imports none of the other packages."""
