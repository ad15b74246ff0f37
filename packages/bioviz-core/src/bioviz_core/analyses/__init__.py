"""Analyses of arrays."""
