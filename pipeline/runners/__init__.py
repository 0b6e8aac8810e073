"""Runners: who does the units of a run, and when. They only schedule."""
