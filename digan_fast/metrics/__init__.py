"""Similarity of pictures: one module per metric, with a function of the same name."""
