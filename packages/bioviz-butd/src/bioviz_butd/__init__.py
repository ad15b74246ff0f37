"""bioviz-butd."""
