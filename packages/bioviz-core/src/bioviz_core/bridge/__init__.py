"""The only room that imports torch or JAX."""
