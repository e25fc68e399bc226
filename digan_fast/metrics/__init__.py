"""Similarity of pictures and of sets of videos: one module per metric, and evaluations by named protocols."""
