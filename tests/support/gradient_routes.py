"""Ways to the same gradients: those of a batch as it is made in one plain way, and on the way that an example names.

``python -m support.gradient_routes COUNT`` takes so many random examples and prints a digest of all gradients;
``test_gradient_bits`` runs it in processes that compile for other CPUs or start their threads differently.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import numba_lstm
from numba_lstm.execution.gradients import plan
from numba_lstm.execution.planning.machine import ASSUMED, Way
from support.cases import assert_same_array, module
from support.gradient_cases import OF_ROWS, assert_same_gradients, named, random_given
from support.routes import BOTH_DIRECTIONS, WAYS, Example, Pick, example, laid, on_its_way, with_padding

KEEP = ("gates", "states")


def gradient_example(pick: Pick) -> Example:
    """Choose an example whose sequences go together from their begin to their end."""
    return example(lambda name, values: pick(name, BOTH_DIRECTIONS if name == "kind" else values))


@contextmanager
def backward_crew(size: int) -> Iterator[None]:
    """Have backward passes share their work among so many threads, however little it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ASSUMED, "threads", size)
        for least in ("LEAST_FLOP", "LEAST_STEP_FLOP"):
            patch.setattr(plan, least, 0.0)
        yield


def _gradients(one: Example, keep: str, batch_first: bool = False, layout: str = "plain") -> dict[str, np.ndarray]:
    """Return the gradients of an example by name, that of the input as a time-first batch."""
    case, (d_output, d_states) = one.case, random_given(one.case, one.seed)
    lstm = module(case, batch_first=batch_first)
    hx, d_states = (tuple(laid(state, layout) for state in pair) for pair in (case.hx, d_states))
    if one.kind == "packed":
        x, d_output = (
            numba_lstm.pack_padded_sequence(batch, one.lengths, enforce_sorted=False) for batch in (case.x, d_output)
        )
        _, backward = lstm.vjp(x._replace(data=laid(x.data, layout)), hx, keep=keep)
        found = named(backward(laid(d_output.data, layout), d_states))
        found["input"] = numba_lstm.pad_packed_sequence(found["input"], total_length=case.shape.steps)[0]
        return found
    lengths = one.lengths if one.kind == "lengths" else None

    def given(batch: np.ndarray) -> np.ndarray:
        padded = with_padding(batch, one.lengths)
        return laid(np.ascontiguousarray(padded.swapaxes(0, 1)) if batch_first else padded, layout)

    _, backward = lstm.vjp(given(case.x), hx, lengths=lengths, keep=keep)
    found = named(backward(given(d_output), d_states))
    if batch_first:
        found["input"] = found["input"].swapaxes(0, 1)
    return found


def _of_one_row(one: Example, row: int) -> dict[str, np.ndarray]:
    """Return the gradients of a sequence alone that are its own."""
    case, length = one.case, one.lengths[row]
    d_output, d_states = random_given(case, one.seed)
    _, backward = module(case).vjp(case.x[:length, row], tuple(state[:, row] for state in case.hx))
    found = named(backward(d_output[:length, row], tuple(state[:, row] for state in d_states)))
    padding = np.zeros((case.shape.steps - length, case.shape.input_size), case.x.dtype)
    return {"input": np.concatenate([found["input"], padding]), "h_0": found["h_0"], "c_0": found["c_0"]}


def check(one: Example) -> dict[str, np.ndarray]:
    """Raise unless gradients on the way are those made plainly, and a row's own are those it has alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ASSUMED, "way", Way(1, 1, 0))
        expected = _gradients(one, KEEP[0])
        alone = [_of_one_row(one, row) for row in range(one.case.shape.rows)]
    way = WAYS[one.way]
    with on_its_way(one), backward_crew(one.threads if way is None else max(way.slices, way.crew)):
        actual = _gradients(one, KEEP[one.seed % 2], one.batch_first, one.layout)
    assert_same_gradients(actual, expected)
    for row, own in enumerate(alone):
        for name in OF_ROWS:
            assert_same_array(np.ascontiguousarray(actual[name][:, row]), own[name], f"{name} of row {row}")
    return actual


def random_gradient_examples(count: int) -> Iterator[Example]:
    """Yield seeded examples."""
    rng = np.random.default_rng(20)
    for _ in range(count):
        yield gradient_example(lambda name, values: values[int(rng.integers(len(values)))])


def digest(gradients: Mapping[str, Any]) -> str:
    """Return a digest of named gradients."""
    made = hashlib.sha256()
    for name, array in gradients.items():
        plain = np.where(np.isnan(array), array.dtype.type(np.nan), array)  # of one payload
        made.update(name.encode() + plain.tobytes())
    return made.hexdigest()[:16]


def main(count: int) -> None:
    """Check random examples and print their digests."""
    for one in random_gradient_examples(count):
        print(digest(check(one)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
