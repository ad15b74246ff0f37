"""Vision transformers with fast weights."""
