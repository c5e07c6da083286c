"""Results that must be equal bit for bit: across batches, chunks, threads, layouts and instruction sets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import binding as llvm
from support import int8_oracle, oracle
from support.bit_cases import CASES, NUMBERS, case_of, computed, digests
from support.cases import Case, Shape, assert_close, assert_same_bits, both_dtypes, flat, module, random_case
from support.int8_oracle import assert_within
from support.layouts import layouts
from support.places import TESTS
from support.processes import HOST, WIDE, features_without, run, two_widths
from support.weight_forms import SIXTEEN_BITS, rounded_case

import numba_lstm
from numba_lstm.contract.weight_form import quantized


def rows_of(case: Case, first: int, last: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the input and states of some rows, as arrays of their own."""
    x, h_0, c_0 = (np.ascontiguousarray(a[:, first:last]) for a in case[2:])
    return x, (h_0, c_0)


def joined(parts: list[Any], axis: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Join results along an axis."""
    output, h_n, c_n = (np.concatenate(arrays, axis) for arrays in zip(*map(flat, parts), strict=True))
    return output, (h_n, c_n)


# --- rows ---------------------------------------------------------------------------------------------------
@both_dtypes
@pytest.mark.parametrize("rows", range(1, 21))
@pytest.mark.parametrize("hidden_size", [1, 4, 15, 16, 17, 40])
def test_batch_equals_its_rows(hidden_size: int, rows: int, dtype: type) -> None:
    shape = Shape(1 + rows, hidden_size, 2, True, bool(rows % 2), hidden_size // 3 * (rows % 3 == 0), 5, rows)
    case = random_case(shape, rows, dtype)
    lstm = module(case)
    alone = [lstm(*rows_of(case, row, row + 1)) for row in range(rows)]
    assert_same_bits(lstm(case.x, case.hx), joined(alone, 1), f"{shape}")


@pytest.mark.parametrize(
    "shape", [Shape(300, 270, steps=3, rows=40), Shape(140, 33, 2, steps=50, rows=70)], ids=str
)
def test_large_batch_equals_its_rows(shape: Shape) -> None:
    case = random_case(shape, 0)
    lstm = module(case)
    whole = lstm(case.x, case.hx)
    for cut in (1, 4, 7, 8, 32):
        parts = [lstm(*rows_of(case, r, min(r + cut, shape.rows))) for r in range(0, shape.rows, cut)]
        assert_same_bits(whole, joined(parts, 1), f"{shape} in parts of {cut}")


# --- time ---------------------------------------------------------------------------------------------------
@both_dtypes
@pytest.mark.parametrize("proj_size", [0, 5])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("cut", [1, 2, 7, 64, 150])
def test_whole_equals_chunks_with_carried_state(cut: int, rows: int, proj_size: int, dtype: type) -> None:
    case = random_case(Shape(9, 21, 2, proj_size=proj_size, steps=160, rows=rows), cut, dtype)
    lstm = module(case)
    hx, outputs = case.hx, []
    for start in range(0, 160, cut):
        output, hx = lstm(case.x[start : start + cut], hx)
        outputs.append(output)
    assert_same_bits(lstm(case.x, case.hx), (np.concatenate(outputs), hx))


@both_dtypes
def test_no_states_equal_zero_states(dtype: type) -> None:
    case = random_case(Shape(9, 21, 2, True, True, 5, 12, 4), 1, dtype)
    lstm = module(case)
    assert_same_bits(lstm(case.x), lstm(case.x, (np.zeros_like(case.h_0), np.zeros_like(case.c_0))))


@both_dtypes
def test_reverse_direction_is_the_forward_one_backwards(dtype: type) -> None:
    case = random_case(Shape(6, 13, bidirectional=True, steps=11, rows=4), 2, dtype)
    half = random_case(Shape(6, 13, steps=11, rows=4), 2, dtype)
    weights = {n.removesuffix("_reverse"): v for n, v in case.state_dict.items() if n.endswith("_reverse")}
    output, (h_n, c_n) = module(case)(case.x, case.hx)
    backwards = module(half._replace(state_dict=weights))(case.x[::-1], (case.h_0[1:], case.c_0[1:]))
    forwards = np.ascontiguousarray(output[::-1, :, 13:])
    assert_same_bits((forwards, (h_n[1:], c_n[1:])), backwards)


def test_a_row_of_a_wider_input_with_zeros() -> None:
    """Zero weights add exact zeros, whatever they are multiplied by."""
    case = random_case(Shape(20, 30, steps=6, rows=5), 3)
    wide = {
        n: (np.pad(v, ((0, 0), (0, 11))) if n == "weight_ih_l0" else v) for n, v in case.state_dict.items()
    }
    x = np.concatenate([case.x, np.random.default_rng(1).standard_normal((6, 5, 11), np.float32)], -1)
    wider = Case(Shape(31, 30, steps=6, rows=5), wide, x, *case.hx)
    assert_same_bits(module(wider)(x, case.hx), module(case)(case.x, case.hx))


@pytest.mark.parametrize("input_size", [129, 256, 300])
def test_blocks_of_the_sum_begin_with_the_input(input_size: int) -> None:
    """Zero padding within the last block changes nothing, in either part of the sum."""
    case = random_case(Shape(input_size, 20, steps=4, rows=3), 3)
    wide = {
        n: (np.pad(v, ((0, 0), (0, 3))) if n == "weight_ih_l0" else v) for n, v in case.state_dict.items()
    }
    x = np.pad(case.x, ((0, 0), (0, 0), (0, 3)))
    wider = Case(Shape(input_size + 3, 20, steps=4, rows=3), wide, x, *case.hx)
    assert_same_bits(module(wider)(x, case.hx), module(case)(case.x, case.hx))


# --- layouts ------------------------------------------------------------------------------------------------
@both_dtypes
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_batch_first_is_the_transpose(rows: int, bidirectional: bool, dtype: type) -> None:
    case = random_case(Shape(7, 18, 2, True, bidirectional, 0, 10, rows), 1, dtype)
    output, hx = module(case, batch_first=True)(np.ascontiguousarray(case.x.swapaxes(0, 1)), case.hx)
    assert output.flags.c_contiguous
    assert_same_bits((np.ascontiguousarray(output.swapaxes(0, 1)), hx), module(case)(case.x, case.hx))
    # Dropout aside, a transposed view is as good as a contiguous array.
    output, hx = module(case, batch_first=True)(case.x.swapaxes(0, 1), case.hx)
    assert_same_bits((np.ascontiguousarray(output.swapaxes(0, 1)), hx), module(case)(case.x, case.hx))


@both_dtypes
def test_unbatched_is_batch_one(dtype: type) -> None:
    case = random_case(Shape(7, 18, 2, True, True, 5, 10, 1), 1, dtype)
    for options in ({}, {"batch_first": True}):
        lstm = module(case, **options)
        output, (h_n, c_n) = lstm(case.x[:, 0], (case.h_0[:, 0], case.c_0[:, 0]))
        assert output.shape == (10, 10)
        assert h_n.shape == (4, 5)
        assert c_n.shape == (4, 18)
        assert_same_bits((output[:, None], (h_n[:, None], c_n[:, None])), module(case)(case.x, case.hx))


@both_dtypes
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", list(layouts(np.zeros((1, 1, 1)))))
def test_layouts(kind: str, batch_first: bool, dtype: type) -> None:
    case = random_case(Shape(7, 18, 2, True, True, 5, 6, 4), 1, dtype)
    lstm = module(case, batch_first=batch_first)
    x = case.x.swapaxes(0, 1).copy() if batch_first else case.x
    laid = {name: layouts(a)[kind] for name, a in (("x", x), ("h_0", case.h_0), ("c_0", case.c_0))}
    plain = {name: np.array(a, dtype, order="C", copy=True, subok=False) for name, a in laid.items()}
    before = {name: a.tobytes() for name, a in laid.items()}
    got = lstm(laid["x"], (laid["h_0"], laid["c_0"]))
    assert_same_bits(got, lstm(plain["x"], (plain["h_0"], plain["c_0"])), kind)
    assert {name: a.tobytes() for name, a in laid.items()} == before, "an input was written to"
    for array in flat(got):
        assert type(array) is np.ndarray
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.owndata


# --- calls and threads --------------------------------------------------------------------------------------
def test_first_call_equals_later_calls_and_modules() -> None:
    case = random_case(Shape(30, 50, 2, True, True, 0, 20, 6), 1)
    lstm = module(case)
    first = lstm(case.x, case.hx)
    lstm(random_case(Shape(30, 50, 2, steps=90, rows=19), 2).x)  # leaves other numbers in the workspace
    lstm(np.full((3, 6, 30), np.nan, np.float32))
    assert_same_bits(lstm(case.x, case.hx), first)
    assert_same_bits(module(case)(case.x, case.hx), first)


def test_outputs_of_two_calls_do_not_share_memory() -> None:
    case = random_case(Shape(3, 5, 2, steps=4, rows=2), 1)
    lstm = module(case)
    first, second = flat(lstm(case.x)), flat(lstm(case.x))
    kept = [a.copy() for a in first]
    for a in second:
        a[...] = 7
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("threads")
@both_dtypes
@pytest.mark.parametrize(
    "shape",
    [
        Shape(40, 64, steps=30, rows=1),
        Shape(40, 64, steps=30, rows=2),
        Shape(40, 64, 2, True, True, steps=20, rows=13),
        Shape(33, 65, 3, steps=20, rows=20),
        Shape(16, 90, 2, True, True, 33, 20, 7),
        Shape(200, 300, steps=3, rows=33),
        Shape(2, 3, steps=2, rows=20),
    ],
    ids=str,
)
def test_one_thread_equals_two(shape: Shape, dtype: type) -> None:
    case = random_case(shape, 9, dtype)
    lstm = module(case)
    results = []
    for count in (1, 2, 1, 2):
        numba_lstm.set_num_threads(count)
        results.append(lstm(case.x, case.hx))
    for other in results[1:]:
        assert_same_bits(other, results[0], f"{shape}")
    assert_close(results[1], oracle.lstm(case.state_dict, case.x, *case.hx))


@given(data=st.data())
def test_random_cuts(data: st.DataObject) -> None:
    """Any cut of batch and time gives the same bits."""
    draw = data.draw
    hidden = draw(st.integers(1, 70), label="hidden")
    shape = Shape(
        draw(st.integers(1, 140), label="input"),
        hidden,
        draw(st.integers(1, 3), label="layers"),
        draw(st.booleans(), label="bias"),
        False,
        draw(st.just(0) | st.integers(0, hidden - 1), label="projection"),
        draw(st.integers(2, 40), label="steps"),
        draw(st.integers(2, 20), label="rows"),
    )
    dtype = draw(st.sampled_from([np.float32, np.float64]), label="dtype")
    case = random_case(shape, draw(st.integers(0, 2**32 - 1), label="seed"), dtype)
    row = draw(st.integers(1, shape.rows - 1), label="row")
    step = draw(st.integers(1, shape.steps - 1), label="step")
    lstm = module(case)
    halves = []
    for first, last in ((0, row), (row, shape.rows)):
        x, hx = rows_of(case, first, last)
        early, hx = lstm(x[:step], hx)
        late, hx = lstm(x[step:], hx)
        halves.append((np.concatenate([early, late]), hx))
    assert_same_bits(lstm(case.x, case.hx), joined(halves, 1))


def test_python_threads_share_a_module() -> None:
    cases = [random_case(Shape(20, 40, 2, steps=30, rows=r), 1) for r in (1, 3, 6, 20)]
    lstm = module(cases[0])
    expected = [lstm(c.x, c.hx) for c in cases]
    failures: list[str] = []

    def work(number: int) -> None:
        for repeat in range(20):
            index = (number + repeat) % len(cases)
            try:
                assert_same_bits(lstm(cases[index].x, cases[index].hx), expected[index])
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- the floating-point mode --------------------------------------------------------------------------------
def _denormals_live() -> bool:
    """Whether this thread computes with denormals, in both of their roles: as results and as operands."""
    smallest = np.full(64, np.finfo(np.float32).smallest_normal)
    half = smallest * np.float32(0.5)
    return bool((half != 0).all() and (half * np.float32(2) == smallest).all())


@pytest.mark.usefixtures("threads")
def test_the_callers_denormal_mode_is_kept() -> None:
    assert _denormals_live()
    case = random_case(Shape(64, 128, 2, steps=30, rows=12), 1)
    for count in (1, 2):
        numba_lstm.set_num_threads(count)
        lstm = module(case)
        lstm(case.x)
        assert _denormals_live()
        lstm(case.x[:1, :1])
        assert _denormals_live()
        (output, _), backward = lstm.vjp(case.x)
        backward(output)
        assert _denormals_live()
        with pytest.raises((ValueError, RuntimeError)):
            lstm(case.x[..., :5])
        assert _denormals_live()


# --- other instruction sets ---------------------------------------------------------------------------------
_OTHERS = {
    "AVX2": ("haswell", WIDE),
    "AVX2 without VNNI": ("haswell", (*WIDE, "avxvnni")),
    "AVX-512 without VNNI": ("skylake-avx512", ("avx512vnni", "avxvnni", "avx10", "amx")),
    "AVX-512 without bytes": ("skylake-avx512", ("avx512vnni", "avxvnni", "avx512bw", "avx10", "amx")),
    "AVX": ("sandybridge", ("avx2", "fma", *WIDE)),
    "generic": ("generic", None),
}
"""CPUs, as Numba calls them, and what they lack of the host's features; None for all."""


def _run_as(folder: Path, other: str) -> dict[str, np.ndarray]:
    """Run the cases in a process that compiles for another CPU; return every result by name."""
    path = folder / f"{other}.npz"
    cpu, without = _OTHERS[other]
    features = "" if without is None else features_without(*without)
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-m", "support.bit_cases", str(path)]
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def results_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], dict[str, np.ndarray]]]:
    """What gives the results of another CPU.  Each takes half a minute to compile; two do so at a time."""
    folder = tmp_path_factory.mktemp("others")
    here = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    wanted = dict.fromkeys(item.callspec.params["other"] for item in here if "other" in item.callspec.params)
    with ThreadPoolExecutor(2) as pool:
        found = {other: pool.submit(_run_as, folder, other) for other in wanted}
        yield lambda other: found[other].result()


def _named(results: dict[str, np.ndarray], name: str, numbers: str) -> Any:
    output, h_n, c_n = (results[f"{name}.{numbers}.{part}"] for part in ("output", "h_n", "c_n"))
    return output, (h_n, c_n)


@two_widths
@pytest.mark.parametrize(
    ("other", "isa", "dot"),
    [
        ("AVX2", "avx2", "vnni"),
        ("AVX2 without VNNI", "avx2", "maddubs"),
        ("AVX-512 without VNNI", "avx512", "maddubs"),
        ("AVX-512 without bytes", "avx512", "plain"),
    ],
)
def test_instruction_sets_give_the_same_bits(
    results_of: Callable[[str], dict[str, np.ndarray]], other: str, isa: str, dot: str
) -> None:
    """Also for every size; sums of products of 8 bits are made by other instructions where there is no VNNI."""
    if dot == "vnni" and not HOST.get("avxvnni"):
        dot = "maddubs"
    results = results_of(other)
    assert (str(results["isa"]), str(results["dot"])) == (isa, dot)
    for numbers in NUMBERS:
        for name in CASES:
            case = case_of(name, np.float64 if numbers == "float64" else np.float32)
            assert_same_bits(_named(results, name, numbers), computed(case, numbers), f"{name} {numbers}")
        assert results[f"sizes.{numbers}"].tolist() == digests(numbers)


@pytest.mark.skipif(not HOST, reason="not x86-64")
@pytest.mark.parametrize("other", ["generic", "AVX"])
def test_without_fma(results_of: Callable[[str], dict[str, np.ndarray]], other: str) -> None:
    """Correct, if not with the same bits."""
    results = results_of(other)
    assert str(results["isa"]) == "sse2 without FMA"
    for name in CASES:
        for dtype in (np.float32, np.float64):
            one = case_of(name, dtype)
            right = oracle.lstm(one.state_dict, one.x, *one.hx)
            assert_close(_named(results, name, str(np.dtype(dtype))), right, name)
        one = case_of(name)
        for form in SIXTEEN_BITS:
            right = oracle.lstm(rounded_case(one, form).state_dict, one.x, *one.hx)
            assert_close(_named(results, name, form), right, f"{name} {form}")
        kept = quantized(one.state_dict, "int8")
        integers = int8_oracle.lstm(kept, one.x, *one.hx)
        assert_within(flat(_named(results, name, "int8")), integers, f"{name} int8")
        # Whatever comes of a number next to a tie is in doubt: less than half of all.
        assert np.mean(integers.output.bound < 0.01) > 0.5, name


def _makes_aarch64() -> bool:
    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not _makes_aarch64(), reason="llvmlite cannot make AArch64 code")
@pytest.mark.parametrize(("dtype", "lanes"), [("float32", "4s"), ("float64", "2d")])
def test_aarch64_code_is_made_of_vectors(dtype: str, lanes: str) -> None:
    """What can be seen of AArch64 from here: the kernel's assembly multiplies and adds vectors, and calls no libm."""
    code = _aarch64_code(dtype)
    found = re.findall(r"\bfmla\s+v\d+\.(\w+),", code)
    assert len(found) > 200
    assert set(found) == {lanes}
    assert re.search(r"\bmsr\s+FPCR\b", code, re.IGNORECASE), "the kernel does not set its floating-point mode"
    assert not _called(code) & {"fma", "fmaf", "exp", "expf", "tanh", "tanhf", "fmin", "fminf", "fmax", "fmaxf"}


@pytest.mark.skipif(not _makes_aarch64(), reason="llvmlite cannot make AArch64 code")
@pytest.mark.parametrize(
    ("form", "instruction"), [("float16", r"fcvtl2?"), ("bfloat16", r"shl"), ("int8", r"sdot")]
)
def test_aarch64_code_of_small_weights_has_their_instructions(form: str, instruction: str) -> None:
    code = _aarch64_code("float32", form)
    found = len(re.findall(rf"\b{instruction}\s+v\d+\.4s,", code))
    assert found > 200
    assert form != "bfloat16" or 4 * len(re.findall(r"\bu?shll2?\s", code)) < found  # only panels of one vector widen
    assert not {name for name in _called(code) if name.startswith(("__", "fma", "exp"))}


def _aarch64_code(*arguments: str) -> str:
    """Return what ``aarch64_code.py`` prints, in a process that has the package wherever it is."""
    return run("import runpy; runpy.run_module('aarch64_code', run_name='__main__')", *arguments).stdout


def _called(code: str) -> set[str]:
    return set(re.findall(r"\bbl\s+(\w+)", code))
