"""Running experiments: configuration, run directories, the training loop, reports."""
