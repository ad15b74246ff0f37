"""Measures of networks, and analyses of their rates."""
