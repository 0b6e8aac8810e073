"""The roles of messages: all that a recipe needs of the records."""

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles of messages."""
