"""Seeded bugs that the tests must catch: a test of the tests; `make mutants`."""
