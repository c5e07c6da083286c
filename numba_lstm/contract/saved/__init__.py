"""Modules in files: where their parameters are, what is recorded beside them, and those that are computed."""
