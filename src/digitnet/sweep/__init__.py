"""Sweeps and searches: many runs, planned, started, watched and resumed together."""
