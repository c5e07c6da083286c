"""Forms of weights as values of Numba: numbers of 16 bits, and int8 with its dot products."""
