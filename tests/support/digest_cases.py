"""Five hundred configurations, and digests of their results: what a change of structure must leave as it is.

``python -m support.digest_cases OUT.json`` writes the digest of each; ``test_digests`` compares with those that lie in
``tests/golden``.  Arrays that are all that a caller gets are digested: bits, shapes and dtypes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import numba_lstm
from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.network import Network
from numba_lstm.kernels.cells.cell_rule import Activation, CellRule, Function
from support.cases import Case, Shape, flat, module, random_case

COUNT = 500


def _chosen(seed: int) -> tuple[np.random.Generator, Case]:
    """Return a case of random sizes and options, and what chooses the rest."""
    rng = np.random.default_rng([18, seed])
    hidden = int(rng.choice([1, 3, 8, 15, 16, 17, 31, 40, 64, 70, 129]))
    shape = Shape(
        int(rng.integers(1, 100)),
        hidden,
        int(rng.integers(1, 4)),
        bool(rng.integers(4)),
        bool(rng.integers(2)),
        int(rng.choice([0, (hidden - 1) // 2])),
        int(rng.integers(1, 20)),
        int(rng.integers(1, 12)),
    )
    return rng, random_case(shape, seed, rng.choice([np.float32, np.float64]))


def _one_direction(case: Case, seed: int) -> Case:
    """Return a case of the same sizes without the reverse direction."""
    shape = Shape(**{**case.shape.options, "bidirectional": False}, steps=case.shape.steps, rows=case.shape.rows)
    return random_case(shape, seed, case.x.dtype)


def _lengths(rng: np.random.Generator, case: Case) -> np.ndarray:
    return rng.integers(1, case.shape.steps + 1, case.shape.rows)


def _call(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    batch_first = bool(rng.integers(2))
    x = np.ascontiguousarray(case.x.swapaxes(0, 1)) if batch_first else case.x
    return flat(module(case, batch_first=batch_first)(x, case.hx if rng.integers(2) else None))


def _single(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    h_0, c_0 = (np.ascontiguousarray(state[:, 0]) for state in case.hx)
    return flat(module(case)(np.ascontiguousarray(case.x[:, 0]), (h_0, c_0)))


def _dropped(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    rate = 0.3 if case.shape.num_layers > 1 else 0.0  # one layer has nothing to drop, and torch's warning
    lstm = module(case, dropout=rate, seed=int(rng.integers(1000))).train()
    return [*flat(lstm(case.x, case.hx)), *flat(lstm(case.x))]


def _padded(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    return flat(module(case)(case.x, case.hx, lengths=_lengths(rng, case)))


def _packed(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    packed = numba_lstm.pack_padded_sequence(case.x, _lengths(rng, case), enforce_sorted=False)
    output, (h_n, c_n) = module(case)(packed, case.hx)
    return output.data, output.batch_sizes, h_n, c_n


def _stream(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    some = sorted({0, case.shape.rows // 2})
    stream = module(_one_direction(case, 1)).stream(case.shape.rows)
    outputs = [stream.step(x) for x in case.x]
    stream.reset(some[-1:])
    return [*outputs, stream.step(np.ascontiguousarray(case.x[0, some]), rows=some), *stream.state]


def _window(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    window = module(_one_direction(case, 2)).sliding_window(int(rng.integers(1, case.shape.steps + 1)), case.shape.rows)
    pushed = [window.push(x) for x in case.x]
    return [output for output in pushed if output is not None]


def _cell(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    shape = case.shape
    cell = numba_lstm.LSTMCell(shape.input_size, shape.hidden_size, shape.bias, dtype=case.x.dtype, seed=shape.steps)
    states = [cell(case.x[0])]
    for x in case.x[1:]:
        states.append(cell(x, states[-1]))
    return [array for pair in states for array in pair]


def _general(rng: np.random.Generator, case: Case) -> Iterable[np.ndarray]:
    shape = case.shape

    def function() -> Activation:
        name = str(rng.choice(list(Function.__members__)))
        low, high = sorted(rng.uniform(-1, 1, 2))
        return Activation(name, float(low), float(high))

    rule = CellRule(
        tuple((function(), function(), function()) for _ in range(1 + shape.bidirectional)),
        float(rng.choice([np.inf, 0.8])),
        bool(rng.integers(2)),
        tuple(rng.uniform(-1, 1, (shape.cells, 3, shape.hidden_size))) if rng.integers(2) else None,
    )
    network = Network(Architecture(**shape.options), case.state_dict, case.x.dtype, rule)
    return network(case.x, *case.hx, batch_first=False)


WAYS: tuple[Callable[[np.random.Generator, Case], Iterable[np.ndarray]], ...] = (
    _call, _single, _dropped, _padded, _packed, _stream, _window, _cell, _general,
)  # fmt: skip


def digest(seed: int) -> str:
    """Return the digest of one configuration's results; its threads and its way are chosen by the number, too."""
    rng, case = _chosen(seed)
    numba_lstm.set_num_threads(1 + seed % 2)
    way = WAYS[seed % len(WAYS)]
    made = hashlib.sha256(way.__name__.encode())
    for array in way(rng, case):
        whole = np.ascontiguousarray(array)
        if whole.dtype.kind == "f":
            whole = np.where(np.isnan(whole), whole.dtype.type(np.nan), whole)  # whose payload nobody promises
        made.update(f"{array.dtype.str} {array.shape}".encode() + whole.tobytes())
    return made.hexdigest()[:16]


def main(path: str) -> None:
    """Write the file."""
    digests: dict[str, Any] = {str(seed): digest(seed) for seed in range(COUNT)}
    Path(path).write_text(json.dumps(digests, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
