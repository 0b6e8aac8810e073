"""The roles of messages: all that a recipe needs of the records."""

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles of messages."""

CALL_ROLE = "tool_call"
"""What speaks in a turn whose text is the JSON of the assistant's tool calls; no role of a message."""
