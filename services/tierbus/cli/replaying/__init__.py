"""What `tierbus replay` shows: tables for a terminal, a picture, a page. In: a replay report. Out: text."""
