"""What tests of other libraries share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def seeded_without_gradients() -> Iterator[None]:
    """Seed torch's generator, and record no gradients."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        yield
