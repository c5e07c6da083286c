"""Use the library for a long time in all ways at once: ``python -m numba_lstm.soak --seconds 600``."""
