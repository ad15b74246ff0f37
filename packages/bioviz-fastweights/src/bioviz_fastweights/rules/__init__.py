"""Rules that write fast weights."""
