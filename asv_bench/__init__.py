"""Benchmarks: the asv suite in ``benchmarks``, and commands that print tables, such as ``python -m asv_bench.peers``.

Run the commands from the folder above, on a machine that does nothing else.  ``docs/performance.md`` lists them.
"""
