"""Oja's rule: Hebbian learning that finds principal components."""
