"""The run report: one HTML file, figures and their style."""
