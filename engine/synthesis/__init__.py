"""Single pictures → examples whose answer is known exactly, one function per task (arXiv 2410.00086, section 3)."""
