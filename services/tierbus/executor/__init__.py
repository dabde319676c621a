"""Executor: does one step in one conversation with one model of its tier.

In: step-released. Out: step-executed; started.
"""
