"""Measurements: ``pytest bench`` takes them, ``python -m bench.report`` writes them into the pages."""
