"""Tier files: which models stand on which tier, with their limits and prices. Data in YAML, read by `catalog`."""
