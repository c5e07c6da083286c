"""int8 weights: results against the oracle of integers, at the ends of every range, and beside strange neighbours.

Single steps of one layer are compared, from the states that the kernels themselves have left: then all integers are
those of the oracle, and only float32 is in doubt.  A stack's result has the bits of its layers, directions and steps
one by one, so that nothing is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import int8_oracle, oracle
from support.cases import Shape, assert_same_bits
from support.int8_oracle import SMALLEST, assert_within
from support.weight_forms import MOST_TERMS, dequantized, network, random_kept

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def inputs(shape: Shape, seed: int) -> Arrays:
    """Return x, h_0 and c_0."""
    rng = np.random.default_rng([19, seed])
    x = rng.standard_normal((shape.steps, shape.rows, shape.input_size))
    h_0 = rng.uniform(-1, 1, (shape.cells, shape.rows, shape.output_size))
    c_0 = rng.standard_normal((shape.cells, shape.rows, shape.hidden_size))
    return x.astype(np.float32), h_0.astype(np.float32), c_0.astype(np.float32)


def run(shape: Shape, kept: dict[str, np.ndarray], x: np.ndarray, h_0: Any = None, c_0: Any = None) -> Arrays:
    """Return what the package computes."""
    result: Arrays = network(shape, kept)(x, h_0, c_0, batch_first=False)
    return result


def same(actual: Arrays, expected: Arrays, what: str) -> None:
    assert_same_bits((actual[0], actual[1:]), (expected[0], expected[1:]), what)


def one_by_one(shape: Shape, kept: dict[str, np.ndarray], x: np.ndarray, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
    """Return what layers, directions and steps give one by one, each of them compared with the oracle."""
    h_n, c_n = h_0.copy(), c_0.copy()
    for layer in range(shape.num_layers):
        outputs = []
        for direction in range(1 + shape.bidirectional):
            index, end = layer * (1 + shape.bidirectional) + direction, f"_l{layer}" + "_reverse" * direction
            cell = {
                name.replace(end, "_l0"): array
                for name, array in kept.items()
                if name.removesuffix("_scale").endswith(end)
            }
            sizes = Shape(x.shape[2], shape.hidden_size, bias=shape.bias, proj_size=shape.proj_size)
            step, found = network(sizes, cell), []
            h, c = h_0[index : index + 1], c_0[index : index + 1]
            for t in range(len(x)) if direction == 0 else reversed(range(len(x))):
                one = np.ascontiguousarray(x[t : t + 1])
                result = step(one, h, c, batch_first=False)
                assert_within(result, int8_oracle.lstm(cell, one, h, c), f"{shape} {end} at {t}")
                _, h, c = result
                found.append(h)
            h_n[index], c_n[index] = h[0], c[0]
            outputs.append(np.concatenate(found if direction == 0 else found[::-1]))
        x = np.concatenate(outputs, axis=2)
    return x, h_n, c_n


def check(shape: Shape, seed: int, kept: dict[str, np.ndarray] | None = None, x: np.ndarray | None = None) -> None:
    """Compare a random network, from given states."""
    kept = random_kept(shape, seed) if kept is None else kept
    given_x, h_0, c_0 = inputs(shape, seed)
    x = given_x if x is None else x
    same(run(shape, kept, x, h_0, c_0), one_by_one(shape, kept, x, h_0, c_0), f"{shape}")


def settled(shape: Shape, lengths: list[int] | None = None) -> tuple[dict[str, np.ndarray], Arrays, int8_oracle.Result]:
    """Return a random network, its inputs, and what the oracle says, of which nothing lies next to a tie."""
    for seed in range(100):
        kept, arrays = random_kept(shape, seed), inputs(shape, seed)
        expected = int8_oracle.lstm(kept, *arrays, lengths)
        if max(numbers.bound.max() for numbers in expected) < 1e-4:
            return kept, arrays, expected
    raise AssertionError("a bound below 1e-4 should not be rare")


# --- the oracle ---------------------------------------------------------------------------------------------
def test_the_oracle_by_hand() -> None:
    """Ties go to even: -63.5 of x becomes -64, 63.5 of h becomes 64.  The gates are those of the first of two units."""
    kept = {
        "weight_ih_l0": np.int8([[10, 20], [0, 0], [-30, 0], [0, 0], [1, 2], [0, 0], [0, 127], [0, 0]]),
        "weight_ih_l0_scale": np.float32([0.5, 1, 0.25, 1, 0.125, 1, 2.0, 1]),
        "weight_hh_l0": np.int8([[0, 1], [0, 0], [0, 2], [0, 0], [0, -3], [0, 0], [0, 127], [0, 0]]),
        "weight_hh_l0_scale": np.float32([1.0, 1, 0.5, 1, 0.25, 1, 0.0078125, 1]),
        "bias_ih_l0": np.float32([1, 0, 2, 0, 3, 0, 4, 0]),
        "bias_hh_l0": np.float32([0.5, 0, 0.25, 0, 0, 0, 300, 0]),
    }
    x, h_0, c_0 = np.float32([[[2, -1]]]), np.float32([[[1, 0.5]]]), np.float32([[[-3, 0]]])
    output, h_n, c_n = int8_oracle.lstm(kept, x, h_0, c_0)
    gates = [
        1.5 + (10 * 127 - 20 * 64) * 0.5 * 2 / 127 + 64 / 127,
        2.25 - 30 * 127 * 0.25 * 2 / 127 + 128 * 0.5 / 127,
        3 + (127 - 2 * 64) * 0.125 * 2 / 127 - 3 * 64 * 0.25 / 127,
        304 - 127 * 64 * 2 * 2 / 127 + 127 * 64 / 128 / 127,
    ]
    i, f, o = (1 / (1 + np.exp(-gates[k])) for k in (0, 1, 3))
    c = -3 * f + i * np.tanh(gates[2])
    assert c_n.value[0, 0, 0] == pytest.approx(c, rel=1e-6)
    assert h_n.value[0, 0, 0] == output.value[0, 0, 0] == pytest.approx(o * np.tanh(c), rel=1e-6)
    assert 0 < c_n.bound[0, 0, 0] < 1e-5


@pytest.mark.parametrize("proj_size", [0, 11])
@pytest.mark.parametrize("lengths", [None, [5, 2, 3, 1]])
def test_the_oracle_is_near_that_of_floats(lengths: list[int] | None, proj_size: int) -> None:
    """As near as the rounding of activations allows: some 30 terms off by half of 1 / 127 of the largest at most."""
    shape = Shape(20, 30, 2, True, True, proj_size, 5, 4)
    kept, arrays, ours = settled(shape, lengths)
    floats = oracle.lstm(dequantized(kept), *arrays, lengths)
    for integers, theirs in zip(ours, floats, strict=False):
        np.testing.assert_allclose(integers.value, theirs, rtol=0, atol=0.05)
        assert np.abs(integers.value - theirs).max() > 1e-4


def test_the_oracle_admits_what_a_tie_may_become() -> None:
    """Of a state that is known, a tie is even; of one that is computed, either step is within the bound."""
    shape = Shape(1, 1, bias=False, steps=2, rows=1)
    kept = {name: np.full(array.shape, 127, array.dtype) for name, array in random_kept(shape, 1).items()}
    for name in kept:
        if name.endswith("_scale"):
            kept[name] = np.full(4, 0.01, np.float32)
    rows = int8_oracle.Bounded(np.array([[1.0, 0.5]]), np.array([[0, 1e-9]]))
    doubtful = int8_oracle.as_steps(rows)
    known = int8_oracle.as_steps(int8_oracle.exactly(rows.value))
    assert known.steps.tolist() == doubtful.steps.tolist() == [[127, 64]]
    assert known.doubt.tolist() == [[0, 0]]
    assert doubtful.doubt.tolist() == [[0, 1]]
    weight, scales = kept["weight_hh_l0"].repeat(2, axis=1), kept["weight_hh_l0_scale"]
    assert int8_oracle.products(weight, scales, known).bound.max() == 0
    assert int8_oracle.products(weight, scales, doubtful).bound == pytest.approx(np.full((1, 4), 0.01))


# --- sizes and options --------------------------------------------------------------------------------------
@pytest.mark.parametrize("hidden_size", range(1, 131))
def test_every_hidden_size(hidden_size: int) -> None:
    check(Shape(1 + hidden_size % 70, hidden_size, steps=2, rows=1 + hidden_size % 20), hidden_size)
    check(Shape(3, hidden_size, 2, bidirectional=bool(hidden_size % 2), steps=2, rows=1), hidden_size)


@pytest.mark.parametrize("input_size", [*range(1, 131), 255, 256, 257, 300])
def test_every_input_size(input_size: int) -> None:
    check(Shape(input_size, 1 + input_size % 37, steps=2, rows=1 + input_size % 9), input_size)


@pytest.mark.parametrize("rows", [*range(1, 21), 24, 31, 32, 64, 100])
def test_every_batch(rows: int) -> None:
    for hidden_size in (5, 16, 49):
        check(Shape(11, hidden_size, steps=2, rows=rows), rows)


@pytest.mark.parametrize("proj_size", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 130])
def test_every_projection_tail(proj_size: int) -> None:
    for hidden_size in (proj_size + 1, 2 * proj_size + 5, 140):
        check(Shape(5, hidden_size, proj_size=proj_size, steps=2, rows=1 + proj_size % 8), proj_size)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("proj_size", [0, 6])
def test_every_combination_of_options(proj_size: int, bias: bool, num_layers: int, bidirectional: bool) -> None:
    check(Shape(9, 19, num_layers, bias, bidirectional, proj_size, steps=4, rows=3), num_layers)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(300, 140, 2, steps=2, rows=6),
        Shape(20, 520, steps=2, rows=13),
        Shape(260, 257, bidirectional=True, proj_size=131, steps=2, rows=2),
        Shape(16, 200, 3, steps=2, rows=33),
    ],
    ids=str,
)
def test_large(shape: Shape) -> None:
    check(shape, 1)


@given(data=st.data())
def test_random_shapes(data: st.DataObject) -> None:
    draw = data.draw
    hidden = draw(st.integers(1, 130), label="hidden")
    shape = Shape(
        draw(st.integers(1, 200), label="input"),
        hidden,
        draw(st.integers(1, 3), label="layers"),
        draw(st.booleans(), label="bias"),
        draw(st.booleans(), label="bidirectional"),
        draw(st.just(0) | st.integers(0, hidden - 1), label="projection"),
        draw(st.integers(1, 4), label="steps"),
        draw(st.integers(1, 20), label="rows"),
    )
    check(shape, draw(st.integers(0, 2**32 - 1), label="seed"))


@pytest.mark.parametrize("proj_size", [0, 9])
@pytest.mark.parametrize("lengths", [None, [7, 3, 1, 6]])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_whole_sequences(bidirectional: bool, lengths: list[int] | None, proj_size: int) -> None:
    """With no word from the kernels on the way."""
    shape = Shape(13, 24, 2, bidirectional=bidirectional, proj_size=proj_size, steps=7, rows=4)
    kept, (x, h_0, c_0), expected = settled(shape, lengths)
    if lengths is None:
        assert_within(run(shape, kept, x, h_0, c_0), expected)
    else:
        order = np.argsort(lengths)[::-1]
        counts = np.array([sum(n > t for n in lengths) for t in range(shape.steps)])
        data = np.concatenate([x[t, order[:count]] for t, count in enumerate(counts)])
        packed, h_n, c_n = network(shape, kept).packed(data, counts, h_0[:, order], c_0[:, order])
        output = np.zeros(expected.output.value.shape, np.float32)
        for t, rows in enumerate(np.split(packed, np.cumsum(counts)[:-1])):
            output[t, order[: len(rows)]] = rows
        back = np.argsort(order)
        assert_within((output, h_n[:, back], c_n[:, back]), expected)


# --- the ends of ranges -------------------------------------------------------------------------------------
def filled(shape: Shape, weight: int, scale: float) -> dict[str, np.ndarray]:
    """Return weights that are all the same, with random biases."""
    kept = random_kept(shape, 1)
    for name in kept:
        if name.startswith("weight_"):
            kept[name] = np.full_like(kept[name], scale if name.endswith("_scale") else weight)
    return kept


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("weight", [-127, 127])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 63, 64, 65, 130, 520])
def test_largest_weights_times_largest_inputs(size: int, weight: int, sign: int) -> None:
    """No sum saturates, whatever instruction makes it: not of two products of 8 bits, nor of four."""
    shape = Shape(size, size, steps=2, rows=5)
    kept = filled(shape, weight, 0.5 / (127 * size))
    x, h_0, c_0 = inputs(shape, 1)
    x[...], h_0[...] = sign * 3.0, sign
    x[:, 3] *= np.where(np.arange(size) % 2, 1, -1)  # which nearly cancel
    same(run(shape, kept, x, h_0, c_0), one_by_one(shape, kept, x, h_0, c_0), f"{shape}")


@pytest.mark.parametrize("weight", [-127, 127])
def test_the_longest_sum(weight: int) -> None:
    shape = Shape(MOST_TERMS, 2, steps=1, rows=3)
    x, h_0, c_0 = inputs(shape, 1)
    x[0, 0], x[0, 1] = 1, -1
    for scale in (1e-9, 1e-14):
        kept = filled(shape, weight, scale)
        assert_within(run(shape, kept, x, h_0, c_0), int8_oracle.lstm(kept, x, h_0, c_0))


def test_a_longer_sum_is_refused() -> None:
    """When weights are packed, not when they meet inputs for which it matters."""
    assert MOST_TERMS * 127**2 < 2**31 <= (MOST_TERMS + 1) * 127**2
    shape = Shape(MOST_TERMS + 1, 1)
    with pytest.raises(ValueError, match="weight_ih_l0"):
        network(shape, filled(shape, 1, 1.0))


@pytest.mark.parametrize("of_x", [True, False])
@pytest.mark.parametrize("largest", [127.0, 1.0, 0.5, 2.0])
def test_ties(largest: float, of_x: bool) -> None:
    """Every half of a step, of both signs: the product with 127 / absmax, rounded, decides."""
    size = 255
    shape = Shape(size, size, steps=1, rows=2)
    x, h_0, c_0 = inputs(shape, 3)
    ties = (np.arange(-127, 128) / np.float32(254) * 2 * largest).astype(np.float32)
    ties[1:-1] = ((np.arange(-126, 127) + 0.5) / 127 * largest).astype(np.float32)
    (x if of_x else h_0)[...] = [ties, np.nextafter(ties, np.float32(0))]
    check(shape, 3, x=x)
    kept = random_kept(shape, 3)
    same(run(shape, kept, x, h_0, c_0), one_by_one(shape, kept, x, h_0, c_0), f"{shape}")


@pytest.mark.parametrize("proj_size", [0, 7])
@pytest.mark.parametrize(
    "size", [0.0, 1e-45, 1e-39, SMALLEST * 0.99, SMALLEST, 1e-25, 1e-10, 1e10, 1e30, 1e38, np.finfo(np.float32).max]
)
def test_magnitudes_of_a_row(size: float, proj_size: int) -> None:
    """One row that is all but nothing, or huge, in x and in h_0: its neighbours are as without it."""
    shape = Shape(21, 18, proj_size=proj_size, steps=3, rows=5)
    kept, (x, h_0, c_0) = random_kept(shape, 4), inputs(shape, 4)
    plain = run(shape, kept, x, h_0, c_0)
    for array in (x, h_0):
        unit = array[:, 2] / np.abs(array[:, 2]).max()
        array[:, 2] = unit * np.float32(size)
    with_it = run(shape, kept, x, h_0, c_0)
    same(with_it, one_by_one(shape, kept, x, h_0, c_0), f"{size}")
    others = [0, 1, 3, 4]
    for ours, without in zip(with_it, plain, strict=True):
        assert ours[:, others].tobytes() == without[:, others].tobytes()


def test_rows_below_the_smallest_are_zeros() -> None:
    shape = Shape(6, 20, steps=2, rows=3)
    kept, (x, h_0, c_0) = random_kept(shape, 4), inputs(shape, 4)
    for name in ("weight_ih_l0_scale", "weight_hh_l0_scale"):
        kept[name] *= np.float32(1e30)
    small, zeros = np.full_like(x, SMALLEST * 0.999), np.zeros_like(x)
    nothing = np.zeros_like(h_0)
    same(run(shape, kept, small, nothing, c_0), run(shape, kept, zeros, nothing, c_0), "x")
    same(run(shape, kept, -small, nothing, c_0), run(shape, kept, zeros, nothing, c_0), "-x")
    assert run(shape, kept, np.full_like(x, SMALLEST), nothing, c_0)[0].tobytes() != (
        run(shape, kept, zeros, nothing, c_0)[0].tobytes()
    )


@pytest.mark.parametrize("proj_size", [0, 7])
@pytest.mark.parametrize("largest", [1.0, np.nextafter(np.float32(1), np.float32(2)), 1.5, 127.0, 1e5])
def test_a_first_state_beyond_one(largest: float, proj_size: int) -> None:
    """In one row of one layer and direction, beyond what steps make of it without a projection."""
    shape = Shape(5, 18, 2, bidirectional=True, proj_size=proj_size, steps=3, rows=4)
    kept, (x, h_0, c_0) = random_kept(shape, 6), inputs(shape, 6)
    h_0[:, 1] *= np.float32(largest) / np.abs(h_0[:, 1]).max(axis=1, keepdims=True)
    h_0[1, 1, 0] = largest
    same(run(shape, kept, x, h_0, c_0), one_by_one(shape, kept, x, h_0, c_0), f"{largest}")


def test_nothing_gives_nothing() -> None:
    shape = Shape(4, 17, 2, False, True, steps=5, rows=3)
    for array in run(shape, random_kept(shape, 6), np.zeros((5, 3, 4), np.float32)):
        np.testing.assert_array_equal(array, 0)


def test_rows_of_zero_weights() -> None:
    """Whatever they are multiplied by, and whatever their scale, they add nothing."""
    shape = Shape(9, 21, steps=3, rows=4)
    kept = random_kept(shape, 2)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        kept[name][::3] = 0
        kept[name + "_scale"][::3] = np.finfo(np.float32).tiny
    kept["weight_ih_l0"][:, 4] = 0
    check(shape, 2, kept)


@pytest.mark.parametrize("scale", [np.finfo(np.float32).tiny, 1e-30, 1e-6, 1e4, 1e30])
def test_scales_of_every_size(scale: float) -> None:
    """A gate that is never in between is not in doubt: one step, so that nothing makes much of little."""
    shape = Shape(12, 21, bidirectional=True, steps=1, rows=9)
    kept = random_kept(shape, 3)
    for name in kept:
        if name.endswith("_scale"):
            kept[name] = np.full_like(kept[name], scale)
    check(shape, 3, kept)


# --- inf and NaN --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("proj_size", [0, 5])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 2, 7, 13])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_row_that_is_not_finite(num_layers: int, rows: int, value: float, proj_size: int) -> None:
    """It is NaN from there on, in h and c; before, and in every other row, no bit differs."""
    shape = Shape(10, 19, num_layers, proj_size=proj_size, steps=6, rows=rows)
    kept, (x, h_0, c_0) = random_kept(shape, 7), inputs(shape, 7)
    plain = run(shape, kept, x, h_0, c_0)
    for step in (0, 3, 5):
        for place in (0, 9):
            strange, row = x.copy(), (step + place) % rows
            strange[step, row, place] = value
            output, h_n, c_n = run(shape, kept, strange, h_0, c_0)
            assert np.isnan(output[step:, row]).all()
            assert np.isnan(h_n[:, row]).all()
            assert np.isnan(c_n[:, row]).all()
            output[step:, row], h_n[:, row], c_n[:, row] = plain[0][step:, row], plain[1][:, row], plain[2][:, row]
            same((output, h_n, c_n), plain, f"{value} in row {row} at {step}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_first_state_that_is_not_finite(rows: int, value: float) -> None:
    shape = Shape(10, 19, 2, steps=4, rows=rows)
    kept, (x, h_0, c_0) = random_kept(shape, 7), inputs(shape, 7)
    plain = run(shape, kept, x, h_0, c_0)
    row = rows - 1
    for layer in (0, 1):
        strange = h_0.copy()
        strange[layer, row, 18] = value
        output, h_n, c_n = run(shape, kept, x, strange, c_0)
        assert np.isnan(output[:, row]).all()
        assert np.isnan(h_n[layer:, row]).all()
        assert np.isnan(c_n[layer:, row]).all()
        output[:, row] = plain[0][:, row]
        h_n[layer:, row], c_n[layer:, row] = plain[1][layer:, row], plain[2][layer:, row]
        same((output, h_n, c_n), plain, f"{value} in layer {layer}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_first_cell_state_that_is_not_finite(value: float) -> None:
    """Its unit first; by the next step NaN of one unit is NaN of the row, while inf passes through tanh."""
    shape = Shape(10, 19, steps=3, rows=4)
    kept, (x, h_0, c_0) = random_kept(shape, 7), inputs(shape, 7)
    c_0[0, 2, 5] = value
    same(run(shape, kept, x, h_0, c_0), one_by_one(shape, kept, x, h_0, c_0), f"{value}")


def test_the_reverse_direction_is_nan_before() -> None:
    shape = Shape(10, 19, 2, bidirectional=True, steps=6, rows=5)
    kept, (x, h_0, c_0) = random_kept(shape, 7), inputs(shape, 7)
    plain, strange = run(shape, kept, x, h_0, c_0), x.copy()
    strange[3, 1, 2] = np.nan
    result = run(shape, kept, strange, h_0, c_0)
    same(result, one_by_one(shape, kept, strange, h_0, c_0), "as its parts")
    assert np.isnan(result[0][:, 1]).all()  # the second layer has both directions of the first before it
    for ours, without in zip(result, plain, strict=True):
        assert np.delete(ours, 1, axis=1).tobytes() == np.delete(without, 1, axis=1).tobytes()


def test_later_steps_and_neighbours_change_nothing() -> None:
    """What one activation scale for a whole product gets wrong."""
    shape = Shape(24, 33, 2, steps=8, rows=6)
    kept, (x, h_0, c_0) = random_kept(shape, 9), inputs(shape, 9)
    plain = run(shape, kept, x, h_0, c_0)[0]
    louder = x.copy()
    louder[5:] *= 1000
    assert run(shape, kept, louder, h_0, c_0)[0][:5].tobytes() == plain[:5].tobytes()
    louder = x.copy()
    louder[:, [0, 3]] *= 1000
    quiet = [1, 2, 4, 5]
    assert run(shape, kept, louder, h_0, c_0)[0][:, quiet].tobytes() == plain[:, quiet].tobytes()
