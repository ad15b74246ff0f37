"""Sampling of any energy, of a tensor or a tree of tensors, one chain per row."""
