"""Streams are scored in windows and batches: the bits and the order of one after the other, and bounded memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_lstm import demo
from numba_lstm.demo import scoring
from numba_lstm.demo.disorder import BATCH_RESIDUES, batches
from numba_lstm.demo.fasta import Record
from numba_lstm.demo.scoring import score_records

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def record(number: int, length: int) -> Record:
    """Return a record of a length; one of none is bad."""
    letters = "".join(RESIDUES[(number * 7 + step * step) % 20] for step in range(length))
    return Record(number, f"P{number}", letters, None if length else "no residues")


def lengths_of(tasks: Iterator[list[str]]) -> Iterator[list[np.ndarray]]:
    """Compute what is quick: scores that say whose they are."""
    for task in tasks:
        yield [np.full(len(sequence), len(sequence), np.float32) for sequence in task]


@pytest.fixture(scope="module")
def network() -> demo.DisorderNetwork:
    return demo.DisorderNetwork()


def test_a_stream_has_the_bits_of_each_alone(network: demo.DisorderNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "WINDOW_RESIDUES", 300)
    monkeypatch.setattr(scoring, "TASK_RESIDUES", 100)
    lengths = [5, 0, 90, 1, 130, 0, 400, 2, 2, 60, 61, 59, 0, 0, 250, 33]
    records = [record(number, length) for number, length in enumerate(lengths, start=1)]
    found = list(score_records(records, functools.partial(map, network.score_many)))
    assert [each for each, _ in found] == records
    for each, scores in found:
        if each.error is None:
            assert scores is not None
            np.testing.assert_array_equal(scores, network.score(each.sequence))
        else:
            assert scores is None


def test_more_than_a_batch_has_the_bits_of_each_alone(network: demo.DisorderNetwork) -> None:
    sequences = [record(1, BATCH_RESIDUES + 5).sequence, *(record(n, 900).sequence for n in range(30))]
    for sequence, scores in zip(sequences, network.score_many(sequences), strict=True):
        np.testing.assert_array_equal(scores, network.score(sequence))


@given(
    lengths=st.lists(st.integers(0, 40), max_size=60),
    window=st.integers(1, 200),
    count=st.integers(1, 20),
    task=st.integers(1, 100),
)
def test_order_and_windows(lengths: list[int], window: int, count: int, task: int) -> None:
    """Everything comes once, in its order, soon after it was read."""
    records = [record(number, length) for number, length in enumerate(lengths, start=1)]
    read = [0]

    def stream() -> Iterator[Record]:
        for each in records:
            read[0] += 1
            yield each

    progress: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WINDOW_RESIDUES", window), ("WINDOW_RECORDS", count), ("TASK_RESIDUES", task)):
            patch.setattr(scoring, name, value)
        for number, (each, scores) in enumerate(score_records(stream(), lengths_of, progress.append)):
            assert each == records[number]
            assert (scores is None) == (each.error is not None)
            assert scores is None or scores.tolist() == [len(each.sequence)] * len(each.sequence)
            assert read[0] - number <= count
    assert read[0] == len(records)
    assert sum(progress) == sum(lengths)


@given(lengths=st.lists(st.integers(1, 40), max_size=60), residues=st.integers(1, 100), count=st.integers(1, 9))
def test_batches(lengths: list[int], residues: int, count: int) -> None:
    groups = list(batches(lengths, residues, count))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= count
        assert len(group) == 1 or sum(lengths[index] for index in group) <= residues
    order = [lengths[index] for group in groups for index in group]
    assert order == sorted(order, reverse=True)


def test_only_bad_records_are_passed_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without an end, of which nothing can be scored, does not pile up."""
    monkeypatch.setattr(scoring, "WINDOW_RECORDS", 10)
    endless = (record(number, 0) for number in iter(int, 1))
    rows = score_records(endless, lengths_of)
    assert [next(rows)[1] for _ in range(1000)] == [None] * 1000


@pytest.mark.parametrize("error", [ValueError("damaged"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("before", [0, 1, 7])
def test_what_comes_before_an_error_is_scored(error: Exception, before: int) -> None:
    def stream() -> Iterator[Record]:
        for number in range(before):
            yield record(number, 3)
        raise error

    found: list[Any] = []
    with pytest.raises(type(error)) as raised:  # noqa: PT012
        for row in score_records(stream(), lengths_of):
            found.append(row)
    assert raised.value is error
    assert len(found) == before
