"""Waiting for half the price: which steps may, how they are put together, and what is known of a batch. Pure."""
