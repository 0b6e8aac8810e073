"""Conversation -> text, and which tokens are trained. `labels.py` alone decides this."""
