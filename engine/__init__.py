"""The data engine: from a pile of pictures to pairs and records that training/ learns from. docs/engine.md shows it."""
