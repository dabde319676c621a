"""Answering a task from an earlier one of the same tenant that asked the same, or with one that runs now.

In: a task of a class whose rules allow it (`rules`), its key (`key`), and who answers for that key (`stores.Answers`).
Out: a run that has ended with that answer, a run that waits for it, or a run that works and answers for others (`reuse`).
"""
