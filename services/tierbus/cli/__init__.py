"""The command line: argument parsing and one call per command."""
