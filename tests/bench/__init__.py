"""Measurements; never asserted, always ratios taken in one run."""
