"""The shapes that are timed."""

from __future__ import annotations

import pytest

from asv_bench import shapes


def test_few_rows_with_large_weights() -> None:
    few = shapes.select(["few"])
    assert len(few) == 20
    assert {shape.batch for shape in few.values()} == {2, 3, 4, 5, 6}
    assert {shape.hidden_size for shape in few.values()} == {512, 768, 1024, 1536}
    assert all(shape == shapes.Shape(h := shape.hidden_size, h, steps=50, batch=shape.batch) for shape in few.values())
    assert shapes.select(["few_6x1536"]) == {"few_6x1536": shapes.Shape(1536, 1536, steps=50, batch=6)}


def test_every_shape_of_the_pages_has_words_of_its_own() -> None:
    chosen = shapes.select(["public", "few", "training"])
    assert {*shapes.WORDS} == {*chosen}
    assert len({shapes.words(name) for name in chosen}) == len(chosen)
    assert shapes.words("odd_13") == "odd_13"


def test_flop_counts_products() -> None:
    """Against a count from the shapes of torch's parameters: two for each weight, row and step."""
    for shape in (shapes.PUBLIC | shapes.ODD | shapes.FEW).values():
        matrices = [array for array in shapes.parameters(shape).values() if array.ndim == 2]
        assert shape.flop() == 2 * shape.steps * shape.batch * sum(array.size for array in matrices)


def test_unknown_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="no shape or group 'oops'"):
        shapes.select(["amp_step", "oops"])
