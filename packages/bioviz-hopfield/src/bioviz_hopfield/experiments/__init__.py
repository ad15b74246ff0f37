"""Experiments with associative memories."""
