"""Router: sends each task where it costs least, straight to one model or to the planner.

In: task, cancel-requested. Out: a run opened with its first step or a plan request; routed, rejected, result of a cancelled run.
"""
