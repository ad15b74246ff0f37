"""bioviz-core."""
