"""Gradients of modules, and a look at their gates: what callers give and get."""
