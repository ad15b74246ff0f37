"""What the top-down stream shows: its alignment with the bottom-up one, and what it looks at."""
