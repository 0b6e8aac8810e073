"""Looking at finished outputs: verify, diff, stats, explain, rejects, the report."""
