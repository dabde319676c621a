"""One file for each kind of log: a row as it was written in, calls out."""
