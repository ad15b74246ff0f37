"""Experiments with fast weights."""
