"""Router: Sends each task where it costs least

In:  straight to one model, or to the planner. Out: task, cancel-requested.:a run opened with its first step or a plan request, routed, rejected.
"""
