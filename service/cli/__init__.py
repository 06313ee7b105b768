"""The command line: one file per command group. Imports no model library before a command runs."""
