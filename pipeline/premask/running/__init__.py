"""Runs: units of work, workers, retries, duplicates, shuffling, caching, ranks."""
