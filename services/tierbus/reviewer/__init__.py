"""Reviewer: judges each attempt, then lets the run go on, climb a tier, or end; compares some that ended with the frontier.

In: step-executed, timer-due, quality-due. Out: steps released; reviewed, result; quality-due, quality-measured.
"""
