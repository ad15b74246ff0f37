"""Experiments with samplers and fields."""
