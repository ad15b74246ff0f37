"""The experiments of this package."""
