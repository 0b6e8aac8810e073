"""Records, recipe, errors and small helpers that every room may use; imports no other room."""
