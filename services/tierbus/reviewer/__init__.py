"""Reviewer: judges each attempt, then lets the run go on, climb a tier, or end.

In: step-executed, timer-due. Out: steps released; reviewed, result.
"""
