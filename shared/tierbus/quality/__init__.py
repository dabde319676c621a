"""The quality watch: which tasks are compared with the frontier, what a comparison says, and what many of them show."""
