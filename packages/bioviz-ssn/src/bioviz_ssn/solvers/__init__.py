"""How fixed points are found, one method per file."""
