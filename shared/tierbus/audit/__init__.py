"""Measuring a team's own call logs before anything is adopted: no bus, no model, no network.

In: files of calls that were made (requests and responses, LiteLLM, Langfuse, OpenTelemetry, tables).
Out: where the money went, what it would cost on each tier, and what to move first.
"""
