"""Teach ACE: data sets of records, the trainer, LoRA."""
