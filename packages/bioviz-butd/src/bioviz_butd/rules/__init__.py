"""Learning rules: backpropagation, Counter-Hebb, and fixed random feedback."""
