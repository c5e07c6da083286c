"""`numba_lstm.io.dask.map_sequences`: results in the order of the input, batches of equal cost, names in errors."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import assert_same_array, drawn_shape, module, random_case

import numba_lstm as nl

cloudpickle = pytest.importorskip("cloudpickle")
dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
db = pytest.importorskip("dask.bag")
nd = pytest.importorskip("numba_lstm.io.dask")
partitions = pytest.importorskip("numba_lstm.io.dask.partitions")

LSTM = nl.LSTM(3, 5, num_layers=2, bidirectional=True, seed=0).eval()


def random_sequences(lengths: list[int], features: int = 3, dtype: Any = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((length, features)).astype(dtype) for length in lengths]


def computed(bag: Any) -> list[Any]:
    return list(bag.compute(scheduler="sync"))


def check(results: Any, lstm: nl.LSTM, sequences: list[np.ndarray]) -> None:
    """Compare with calls for each alone, bit for bit."""
    found = computed(results)
    assert len(found) == len(sequences)
    for result, sequence in zip(found, sequences, strict=True):
        rows = sequence[None] if lstm.batch_first else sequence[:, None]
        assert_same_array(result, lstm(rows)[0].reshape(len(sequence), -1))


@given(data=st.data())
def test_bits_of_calls_alone(data: Any) -> None:
    """For random modules, lengths, partitions and batches; of a list, of one with delayed sequences, of a bag."""
    shape = drawn_shape(data.draw, steps=1, rows=1, hidden=40)
    dtype = data.draw(st.sampled_from([np.float32, np.float64]), label="dtype")
    lstm = module(random_case(shape, 0, dtype), batch_first=data.draw(st.booleans(), label="batch_first"))
    form = data.draw(st.sampled_from([None, "int8", "bfloat16"]), label="form")
    if form and dtype == np.float32:
        lstm = lstm.quantize(form)
    lengths = data.draw(st.lists(st.integers(1, 30), max_size=12), label="lengths")
    sequences = random_sequences(lengths, shape.input_size, dtype)
    options = {"batch_steps": data.draw(st.integers(1, 60), label="steps")}
    number = data.draw(st.integers(1, 15), label="parts")
    given_as = data.draw(st.sampled_from(["list", "delayed", "bag"]), label="as")
    if given_as == "bag":
        results = nd.map_sequences(lstm, db.from_sequence(sequences, npartitions=number), **options)
    else:
        items = [dask.delayed(s) if given_as == "delayed" and i % 2 else s for i, s in enumerate(sequences)]
        results = nd.map_sequences(lstm, items, npartitions=number, **options)
    check(results, lstm, sequences)


@given(st.lists(st.integers(0, 1000), max_size=50), st.integers(0, 20))
def test_equal_parts(costs: list[int], number: int) -> None:
    """All things once and in order, no part empty, each at most half a thing at either end away from its share."""
    parts = partitions.equal_parts(costs, number)
    assert [index for part in parts for index in range(len(costs))[part]] == [*range(len(costs))]
    assert len(parts) <= max(1, number)
    for part in parts:
        assert costs[part]
        assert sum(costs[part]) <= sum(costs) / max(1, number) + max(costs) + 1e-6


def test_batches() -> None:
    """Of about equal sums of lengths, longest first, within a partition."""
    lengths = [1, 40, 2, 39, 3, 38, 4, 37, 5, 36]
    seen: list[list[int]] = []

    def note(batch: list[str]) -> list[int]:
        seen.append([len(each) for each in batch])
        return seen[-1]

    bag = nd.map_sequences(note, ["x" * length for length in lengths], batch_steps=70, npartitions=1)
    assert computed(bag) == lengths
    assert seen == [[40, 39], [38, 37], [36, 5, 4, 3, 2, 1]]

@pytest.mark.parametrize(
    ("number", "partitions"), [(3, 1), (30, 3), (1000, 100), (3000, 100), (10_000, 125)]
)
def test_how_many_partitions(number: int, partitions: int) -> None:
    """One for each batch of 100 steps; when these are many, for up to eight; of delayed ones, up to a hundred."""
    assert nd.map_sequences(list, ["x" * 10] * number, batch_steps=100).npartitions == partitions
    if number <= 1000:
        later = [dask.delayed("x"), *["x" * 10] * (number - 1)]
        assert nd.map_sequences(list, later, batch_steps=100).npartitions == min(number, 100)


def test_partitions_of_a_list_have_equal_sums() -> None:
    bag = nd.map_sequences(list, ["x" * length for length in [90, 10, 20, 30, 30, 10, 50, 60]], npartitions=3)
    assert [[len(each) for each in part.compute(scheduler="sync")] for part in bag.to_delayed()] == [
        [90, 10], [20, 30, 30, 10], [50, 60],
    ]  # fmt: skip


def test_partitions_of_a_bag_stay() -> None:
    """Also those that are read lazily, and empty ones."""
    bag = db.from_sequence(["a", "bb", "ccc", "dd"], npartitions=2).filter(lambda each: "c" not in each)
    results = nd.map_sequences(lambda batch: [len(each) for each in batch], bag.map(str.upper))
    assert [part.compute(scheduler="sync") for part in results.to_delayed()] == [[1, 2], [2]]
    none = nd.map_sequences(len, bag.filter(lambda each: False))
    assert (none.npartitions, computed(none)) == (2, [])


def test_the_bag_goes_on() -> None:
    """What comes out is a bag like any other."""
    sequences = random_sequences([3, 1, 2])
    means = nd.map_sequences(LSTM, sequences).map(np.mean)
    assert computed(means) == [LSTM(each)[0].mean() for each in sequences]


def test_nothing() -> None:
    assert computed(nd.map_sequences(LSTM, [])) == []
    assert computed(nd.map_sequences(LSTM, db.from_sequence([]))) == []


def test_iterators_are_known_by_what_they_give() -> None:
    """Not by what they are when they are used up: two of them are two."""
    first, second = (nd.map_sequences(list, iter(sequences)) for sequences in (["a", "b"], ["c", "d"]))
    assert dask.compute(first, second, scheduler="sync") == (["a", "b"], ["c", "d"])


def test_texts_that_are_like_names_of_results() -> None:
    """A sequence is data, whatever it looks like."""
    sequences = ["map-sequences", (len, "abc"), ["x", 1], ("y", 0)]
    assert computed(nd.map_sequences(lambda batch: batch, sequences, npartitions=1)) == sequences


def test_results_of_any_kind() -> None:
    """An array has a result in each row; an iterator is used up."""
    sequences = ["a", "bb", "ccc"]
    rows = nd.map_sequences(lambda batch: np.array([[len(s)] for s in batch]), sequences, npartitions=1)
    assert [row.tolist() for row in computed(rows)] == [[1], [2], [3]]
    assert computed(nd.map_sequences(lambda batch: map(str.upper, batch), sequences)) == ["A", "BB", "CCC"]


def test_foreign_byte_order() -> None:
    sequences = random_sequences([3, 1, 2])
    swapped = [sequences[0], sequences[1].astype(">f4"), np.asfortranarray(sequences[2])]
    assert [a.tolist() for a in computed(nd.map_sequences(LSTM, swapped, npartitions=1))] == [
        LSTM(each)[0].tolist() for each in sequences
    ]


def test_the_function_is_in_the_graph_once() -> None:
    weights = np.zeros(100_000)
    bag = nd.map_sequences(lambda batch: [len(each) * weights[0] for each in batch], ["x"] * 50, npartitions=50)
    (optimized,) = dask.optimize(bag)
    sizes = sorted(len(cloudpickle.dumps(task)) for task in dict(optimized.__dask_graph__()).values())
    assert weights.nbytes < sizes.pop() < weights.nbytes + 5000
    assert max(sizes) < 2000


# --- errors -----------------------------------------------------------------------------------------------------


def wrong(batch: list[str]) -> list[int]:
    """Fail at one of them."""
    if any("!" in each for each in batch):
        raise KeyError("no such letter")
    return [len(each) for each in batch]


@pytest.mark.parametrize("batch_steps", [1, 3, 100])
def test_the_sequence_that_a_function_fails_at(batch_steps: int) -> None:
    sequences = ["aa", "b", "ccc", "d!", "eeee"]
    with pytest.raises(nd.SequenceError, match=r"^sequence 3: KeyError: 'no such letter'$") as caught:
        computed(nd.map_sequences(wrong, sequences, batch_steps=batch_steps, npartitions=2))
    assert (caught.value.index, caught.value.partition) == (3, None)
    assert isinstance(caught.value.__cause__, KeyError)
    bag = db.from_sequence(sequences, partition_size=2)
    with pytest.raises(nd.SequenceError, match=r"^sequence 1 of partition 1: KeyError") as caught:
        computed(nd.map_sequences(wrong, bag, batch_steps=batch_steps))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.index, again.partition, str(again)) == (1, 1, str(caught.value))


def test_sequences_that_fail_together_only() -> None:
    def at_most_two(batch: list[str]) -> list[str]:
        if len(batch) > 2:
            raise MemoryError("too many")
        return batch

    with pytest.raises(nd.SequenceError, match="sequence 1 with 2 others, and not alone: MemoryError: too many"):
        computed(nd.map_sequences(at_most_two, ["a", "bb", "c"], npartitions=1))


def test_results_that_are_too_few() -> None:
    def some(batch: list[str]) -> Iterator[str]:
        yield from batch[1:]

    with pytest.raises(ValueError, match="function should return a result for each of 3 sequences, got 2"):
        computed(nd.map_sequences(some, ["a", "b", "c"], npartitions=1))


@pytest.mark.parametrize("result", [None, ("output", "state"), {"a": 1, "b": 2}, "ab", {1, 2}, np.float32(3)])
def test_results_that_are_no_list(result: Any) -> None:
    """Although some have as many elements as there are sequences."""
    with pytest.raises(TypeError, match="function should return a list of results, got: "):
        computed(nd.map_sequences(lambda batch: result, ["a", "b"], npartitions=1))


@pytest.mark.parametrize(
    ("sequence", "error"),
    [
        (np.zeros((4, 2), np.float32), r"input.size\(-1\) must be equal to input_size. Expected 3, got 2"),
        (np.zeros((4, 3)), r"RNN input dtype \(float64\) does not match weight dtype \(float32\)"),
        (np.zeros((0, 3), np.float32), "Expected sequence length to be larger than 0 in RNN"),
        (np.zeros((4, 1, 3), np.float32), r"a sequence should have shape \(L, 3\), got: \(4, 1, 3\)"),
        (np.zeros(3, np.float32), "LSTM: Expected input to be 2D or 3D, got 1D instead"),
        ([[1.0, 2.0, 3.0]], "input should be a NumPy array, got: list"),
        (np.ma.zeros((4, 3), np.float32), "input is a masked array"),
    ],
)
def test_sequences_that_the_lstm_cannot_take(sequence: Any, error: str) -> None:
    """Of a list at once; of a bag when they are there."""
    sequences = [*random_sequences([2, 3]), sequence]
    with pytest.raises((TypeError, ValueError, RuntimeError), match=f"^sequence 2: {error}") as caught:
        nd.map_sequences(LSTM, sequences)
    assert not isinstance(caught.value, nd.SequenceError)
    with pytest.raises(nd.SequenceError, match=rf"^sequence 2 of partition 0: \w+: {error}"):
        computed(nd.map_sequences(LSTM, db.from_sequence(sequences, npartitions=1)))


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((3, ["a"]), {}, "function should be an LSTM or a callable, got: int"),
        ((nl.LSTMCell(3, 5), ["a"]), {}, "got: numba_lstm.LSTMCell, which does one step"),
        ((nl.LSTM(3, 5, 2, dropout=0.1), []), {}, "train mode and has dropout"),
        ((len, "MKVLA"), {}, "sequences should be a dask.bag or a list of sequences, got: str"),
        ((len, {"P1": "MKVLA"}), {}, "sequences should be a dask.bag or a list of sequences, got: dict"),
        ((len, {"MKVLA"}), {}, "sequences should be a dask.bag or a list of sequences, got: set"),
        ((len, np.zeros((3, 4, 5))), {}, "a list of sequences, got: numpy.ndarray"),
        ((len, dask.delayed(["a"])), {}, "a list of sequences, got: dask.delayed.Delayed"),
        ((len, 3), {}, "a list of sequences, got: int"),
        ((len, ["a", 3]), {}, r"sequence 1: object of type 'int' has no len\(\)"),
        ((len, ["a"]), {"batch_steps": 0}, "batch_steps must be at least 1, got 0"),
        ((len, ["a"]), {"batch_steps": 1.5}, "batch_steps should be of type int, got: float"),
        ((len, ["a"]), {"npartitions": 0}, "npartitions must be at least 1, got 0"),
        ((len, db.from_sequence(["a"])), {"npartitions": 3}, "npartitions is for lists"),
    ],
)
def test_errors_at_once(arguments: Any, options: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=error):
        nd.map_sequences(*arguments, **options)
