"""The report of an output with all its rows, from a server on this machine."""
