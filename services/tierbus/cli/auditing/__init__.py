"""The audit of call logs as a person reads it: on the terminal and as a page."""
