"""What may happen to a process that uses the library: Ctrl-C, lack of memory, strange values, models that change.

Threads, forks and disks have tests of their own; ``docs/reliability.md`` says where.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.cases import Shape, flat, module, random_case
from support.processes import by_layer, posix, run

import numba_lstm

# --- Ctrl-C -------------------------------------------------------------------------------------------------

CTRL_C = """
import signal, sys, time
import numpy as np
import numba_lstm
from support.cases import Shape, assert_same_bits, module, random_case
from numba_lstm.execution.planning.machine import ASSUMED, Way

kind, threads = sys.argv[1], int(sys.argv[2])
# Ctrl-C comes after so many seconds of this process's own work, however little of the CPUs others leave to it.
signal.signal(signal.SIGPROF, signal.default_int_handler)
if threads > 1:
    ASSUMED["way"] = Way(1, 2, 20_000) if kind == "crew" else Way(2, 1, 0)
shape = Shape(200, 256, 2, bidirectional=kind == "two directions", steps=60, rows=16)
case = random_case(shape, 1)
lstm = module(case)
expected = lstm(case.x, case.hx)
stream = None if shape.bidirectional else lstm.stream(16)
window = None if shape.bidirectional else lstm.sliding_window(64, 16)
# Ten seconds or more of work, of which only the shape is in memory.
x = np.broadcast_to(case.x[:1], (20_000, 16, 200))

def work():
    if kind == "lengths":
        lstm(x, lengths=[20_000 - number for number in range(16)])
    elif kind == "stream":
        stream.state = case.hx
        stream.step(x)
    elif kind == "steps":
        stream.state = case.hx
        while True:
            stream.step(x[0])
    elif kind == "window":
        while True:
            window.push(np.zeros((16, 200), np.float32))
            window.advance()
    else:
        lstm(x)

for moment in (0.2, 0.5, 0.9):
    due = time.process_time() + moment
    signal.setitimer(signal.ITIMER_PROF, moment)
    try:
        work()
    except KeyboardInterrupt:
        taken = time.process_time() - due
    else:
        sys.exit("it was not interrupted")
    print(f"{taken:.3f} s")
    if taken > 3:
        sys.exit(f"only after {taken} s more of work")
    if kind == "stream":  # no step of the chunk was taken
        assert_same_bits((case.x, stream.state), (case.x, case.hx))
    if stream is not None:
        stream.state = case.hx
        assert_same_bits((stream.step(case.x), stream.state), expected)
    if kind == "window":  # it has forgotten its inputs, or has them all: never some
        window.reset()
        answers = [window.push(row) for row in case.x]
        assert all(answer is None for answer in answers)
    assert_same_bits(lstm(case.x, case.hx), expected)
    smallest = np.full(64, np.finfo(np.float32).smallest_normal)
    assert (smallest * np.float32(0.5) != 0).all(), "denormals are zero"
"""

CTRL_C_KINDS = ["one thread", "two directions", "lengths", "stream", "steps", "window"]


@posix
@pytest.mark.parametrize(
    ("kind", "threads", "layer"),
    [
        *((kind, "1", "omp") for kind in CTRL_C_KINDS),
        *((kind, "2", layer) for kind in ("slices", "crew") for layer in ("omp", "workqueue")),
    ],
)
def test_ctrl_c(kind: str, threads: str, layer: str) -> None:
    """Long before the call would end; states are consistent, and the next call is right."""
    run(CTRL_C, kind, threads, NUMBA_THREADING_LAYER=layer)


# --- memory -------------------------------------------------------------------------------------------------

MEMORY = """
import resource, sys
import numpy as np
import numba_lstm
from support.cases import Shape, assert_same_bits, module, random_case

numba_lstm.set_num_threads(int(sys.argv[1]))
shape = Shape(40, 150, 2, steps=60, rows=20)
case = random_case(shape, 1)
lstm, two_way = module(case), numba_lstm.LSTM(40, 150, 2, bidirectional=True)
stream, pool = lstm.stream(20), lstm.stream(20)
expected = lstm(case.x, case.hx)
two_way(case.x), lstm(case.x, lengths=[60] * 20), lstm.sliding_window(3)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
zero = np.zeros((1, 1, 40), np.float32)
refused = 0
# From what is a little too much to what no machine has.
for steps, rows in [(600, 600), (3_000, 100), (40, 40_000), (100_000, 1000), (1 << 20, 1 << 20)]:
    x = np.broadcast_to(zero, (steps, rows, 40))
    for call in (
        lambda: lstm(x),
        lambda: two_way(x),
        lambda: lstm(x, lengths=np.broadcast_to(steps, rows)),
        lambda: lstm(x[::-1, :, ::-1]),
        lambda: lstm.stream(rows).step(x),
        lambda: lstm.sliding_window(steps, rows),
        lambda: stream.step(np.broadcast_to(zero, (steps * rows, 20, 40))),
        lambda: numba_lstm.pack_padded_sequence(x, [steps] * min(rows, 1 << 16)),
    ):
        try:
            call()
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError):
                refused += 1
            elif "Expected" not in str(error):
                raise
        pool.state = stream.state = case.hx
        assert_same_bits((stream.step(case.x), stream.state), expected)
        assert_same_bits((pool.step(case.x), pool.state), expected)
        assert_same_bits(lstm(case.x, case.hx), expected)
    smallest = np.full(64, np.finfo(np.float32).smallest_normal)
    assert (smallest * np.float32(0.5) != 0).all(), "denormals are zero"
try:
    numba_lstm.LSTM(1 << 20, 1 << 20)
except MemoryError:
    refused += 1
sys.exit(0 if refused > 20 else f"only {refused} were refused")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits differ")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_no_memory(threads: str) -> None:
    """Whatever could not be had, the module, the stream and the floating-point mode are as before."""
    run(MEMORY, threads)


# --- floating-point mode ------------------------------------------------------------------------------------

MODES = """
import sys
import numba
import numpy as np
import numba_lstm
from support.cases import Shape, module, random_case
from numba_lstm.simd.float_mode import flush_denormals

@numba.njit(parallel=True)
def halves(numbers):
    result = np.empty_like(numbers)
    for index in numba.prange(len(numbers)):
        result[index] = numbers[index] * np.float32(0.5)
    return result

@numba.njit
def flush():
    flush_denormals()

numba_lstm.set_num_threads(2)
case = random_case(Shape(40, 150, 2, steps=60, rows=20), 1)
lstm = module(case)
smallest = np.full(1 << 16, np.finfo(np.float32).smallest_normal)
assert (halves(smallest) != 0).all()
for _ in range(3):
    lstm(case.x)
    assert (halves(smallest) != 0).all(), "Numba's threads take denormals for zero"
flush()
lstm(case.x)
assert (smallest * np.float32(0.5) == 0).all(), "what the caller had chosen is gone"
"""


@by_layer
def test_modes_of_numbas_threads_and_of_a_caller_that_flushes(layer: str) -> None:
    run(MODES, NUMBA_THREADING_LAYER=layer)


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lengths", [None, [9, 4, 9, 1, 6, 9, 2, 9]])
def test_a_strange_row_is_as_in_torch_and_others_as_without_it(lengths: Any, threads: int, value: float) -> None:
    torch = pytest.importorskip("torch")
    case = random_case(Shape(20, 100, 2, steps=9, rows=8), 1)
    numba_lstm.set_num_threads(threads)
    lstm = module(case)
    clean = lstm(case.x, case.hx, lengths=lengths)
    case.x[3, 5, 7] = value
    result = lstm(case.x, case.hx, lengths=lengths)
    others = [0, 1, 2, 3, 4, 6, 7]
    for array, before in zip(flat(result), flat(clean), strict=True):
        np.testing.assert_array_equal(array[:, others], before[:, others])
    peer = torch.nn.LSTM(20, 100, 2)
    peer.load_state_dict({name: torch.tensor(array) for name, array in case.state_dict.items()})
    with torch.no_grad():
        steps = 9 if lengths is None else lengths[5]
        wanted = peer(torch.tensor(case.x[:steps, 5:6]), tuple(torch.tensor(a[:, 5:6]) for a in case.hx))
    ours = result[0][:steps, 5:6], tuple(a[:, 5:6] for a in result[1])
    for array, other in zip(flat(ours), flat(wanted), strict=True):
        np.testing.assert_allclose(array, other.numpy(), rtol=0, atol=1e-5)


# --- a model that changes -----------------------------------------------------------------------------------


def while_changing(change: Callable[[int], None], call: Callable[[], Any], allowed: list[Any]) -> None:
    """Have three threads call while this one changes; every result is one of those allowed, bit for bit."""
    stop, failures, seen = threading.Event(), [], set()

    def work() -> None:
        while not stop.is_set():
            try:
                result = call()
                matches = [
                    number
                    for number, one in enumerate(allowed)
                    if all(np.array_equal(a, b) for a, b in zip(flat(result), flat(one), strict=True))
                ]
                seen.update(matches)
                if not matches:
                    failures.append("a mixture")
            except BaseException as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    number = 0
    while number < 300 or (len(seen) < len(allowed) and not failures):
        change(number)
        number += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    assert len(seen) == len(allowed), "not every model was called"


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threads", [1, 2])
def test_weights_that_are_loaded_while_others_call(threads: int) -> None:
    numba_lstm.set_num_threads(threads)
    cases = [random_case(Shape(20, 60, 2, steps=12, rows=4), seed) for seed in (1, 2)]
    x, hx = cases[0].x, cases[0].hx
    allowed = [module(case)(x, hx) for case in cases]
    lstm = module(cases[0])
    while_changing(
        lambda number: lstm.load_state_dict(cases[number % 2].state_dict) and None, lambda: lstm(x, hx), allowed
    )


def test_one_weight_that_is_assigned_while_others_call() -> None:
    case = random_case(Shape(20, 60, 2, steps=12, rows=4), 1)
    values = [case.state_dict["weight_hh_l1"], np.zeros((240, 60), np.float32)]
    lstm, allowed = module(case), []
    for value in values:
        lstm.weight_hh_l1 = value
        allowed.append(lstm(case.x, case.hx, lengths=[12, 5, 1, 12]))
    while_changing(
        lambda number: setattr(lstm, "weight_hh_l1", values[number % 2]),
        lambda: lstm(case.x, case.hx, lengths=[12, 5, 1, 12]),
        allowed,
    )


def test_streams_keep_their_weights() -> None:
    case = random_case(Shape(7, 20, 2, steps=12, rows=1), 1)
    lstm = module(case)
    expected = lstm(case.x)[0]
    stream, window = lstm.stream(), lstm.sliding_window(12)
    for t in range(12):
        lstm.reset_parameters()
        np.testing.assert_array_equal(stream.step(case.x[t]), expected[t])
        last = window.push(case.x[t])
    np.testing.assert_array_equal(last, expected[-1])
