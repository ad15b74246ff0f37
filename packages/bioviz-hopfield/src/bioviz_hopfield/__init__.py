"""bioviz-hopfield."""
