"""Cells: one step of one layer and direction, and the rules by which gate sums become states."""
