"""Sources of stimuli."""
