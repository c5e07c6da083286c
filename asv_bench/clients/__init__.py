"""Time programs of published packages with and without `accelerate`: ``python -m asv_bench.clients``."""
