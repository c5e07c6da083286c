"""Results have the bits that they had before the package was put in order."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support import digest_cases
from support.places import GOLDEN

EXPECTED = json.loads((GOLDEN / "digests.json").read_text())

pytestmark = pytest.mark.usefixtures("threads")


def test_there_are_five_hundred() -> None:
    assert list(EXPECTED) == [str(seed) for seed in range(digest_cases.COUNT)]
    assert len(set(EXPECTED.values())) == digest_cases.COUNT


@pytest.mark.parametrize("way", digest_cases.WAYS, ids=lambda way: way.__name__.strip("_"))
def test_every_bit_is_as_before(way: Callable[..., object]) -> None:
    seeds = range(digest_cases.WAYS.index(way), digest_cases.COUNT, len(digest_cases.WAYS))
    differing = [seed for seed in seeds if digest_cases.digest(seed) != EXPECTED[str(seed)]]
    assert not differing
