"""Traces, metrics and logs: what they are called, how they are made from what happened, and where they go."""
