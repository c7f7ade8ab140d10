"""Plumbing that knows nothing of training."""
