"""Ways to the gradient of an energy with respect to its states."""
