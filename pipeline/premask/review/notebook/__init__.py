"""Samples and rejects as HTML for notebooks, and as text for terminals."""
