"""`sim`: a model server without a model. It speaks both provider APIs over HTTP and says what is scripted.

In: requests of the `anthropic` and `openai` SDKs. Out: its scenarios' answers and faults, all SIMULATED.
"""
