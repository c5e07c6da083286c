"""A limit for the memory that a block of a test asks for."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fail if more memory is asked for within the block, touched or not."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= limit
    finally:
        tracemalloc.stop()
