"""The roles of messages. Records, recipes and dialects have them, and the command line needs no more of these."""

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles of messages."""
