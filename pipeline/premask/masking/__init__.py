"""Conversation -> text and which of its tokens are trained: decided in `labels.py` alone."""
