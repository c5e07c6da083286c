"""Results have the bits that they had before the package was put in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import digest_cases
import pytest

GOLDEN = json.loads((Path(__file__).parent / "golden" / "digests.json").read_text())

pytestmark = pytest.mark.usefixtures("threads")


def test_there_are_five_hundred() -> None:
    assert list(GOLDEN) == [str(seed) for seed in range(digest_cases.COUNT)]
    assert len(set(GOLDEN.values())) == digest_cases.COUNT


@pytest.mark.parametrize("way", digest_cases.WAYS, ids=lambda way: way.__name__.strip("_"))
def test_every_bit_is_as_before(way: Callable[..., object]) -> None:
    seeds = range(digest_cases.WAYS.index(way), digest_cases.COUNT, len(digest_cases.WAYS))
    differing = [seed for seed in seeds if digest_cases.digest(seed) != GOLDEN[str(seed)]]
    assert not differing
