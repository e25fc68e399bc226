"""Benchmarks: ``pytest bench`` runs them, ``python -m bench.report`` writes the results into the pages."""
