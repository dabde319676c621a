"""Routing and cascade policies judged offline, on answers that were recorded with their worth.

In: a file of recorded answers (FORMAT.md), a ladder of models, policies. Out: accuracy, dollars, and how sure both are.
"""
