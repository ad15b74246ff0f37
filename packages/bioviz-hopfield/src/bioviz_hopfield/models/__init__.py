"""Models with a memory."""
