"""bioviz-fastweights."""
