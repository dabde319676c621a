"""Planner: asks a frontier model once for a plan, checks it, and releases its first steps; a plan that is kept is adapted instead.

In: plan-requested, plan-judged. Out: the run with its steps released; planned.
"""
