"""What people look at: the summary of a run, single conversations."""
