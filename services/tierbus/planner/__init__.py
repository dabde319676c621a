"""Planner: asks a frontier model once for a plan, checks it, and releases its first steps.

In: plan-requested. Out: the run with its steps released; planned.
"""
