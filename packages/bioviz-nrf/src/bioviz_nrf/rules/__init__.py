"""Rules that learn an energy."""
