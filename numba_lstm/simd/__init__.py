"""Vectors, tiles and atomics as values of Numba, what it compiles for, and how its code is kept."""
