"""Checks that plugin authors run on their own code."""
