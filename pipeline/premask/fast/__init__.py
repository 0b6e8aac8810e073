"""Rows in batches, without an object a message; deleting this room changes the speed, no byte."""
