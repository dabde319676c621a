"""Which model to ask, whether to take its answer, and what to ask next: learned from answers whose worth is known."""
