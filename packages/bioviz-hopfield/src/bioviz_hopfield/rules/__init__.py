"""Rules that write to a memory."""
