"""Every class of the asv suite runs once, on a budget too small to tell anything."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from support.benchmarks import LIMITS

from asv_bench import benchmarks, machine, shapes

SUITE = [importlib.import_module(f"asv_bench.benchmarks.{m.name}") for m in pkgutil.iter_modules(benchmarks.__path__)]

PREFIXES = ("time_", "timeraw_", "track_", "mem_", "peakmem_")
"""Of what asv takes for a benchmark."""

SLOW = {"Start"}
"""Compile kernels anew."""

CASES = [
    pytest.param(kind, method, id=f"{kind.__name__}.{method}", marks=[pytest.mark.slow] * (kind.__name__ in SLOW))
    for module in SUITE
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if kind.__module__ == module.__name__ and not kind.__name__.startswith("_")
    for method, _ in inspect.getmembers(kind, inspect.isfunction)
    if method.startswith(PREFIXES)
]


def first_arguments(kind: Any) -> tuple[Any, ...]:
    """Return the first combination of a benchmark's parameters; the shapes begin with the smallest."""
    choices = getattr(kind, "params", [])
    lists = choices if choices and isinstance(choices[0], list) else [choices]
    assert len(lists) == len(getattr(kind, "param_names", ())) or not choices
    return tuple(values[0] for values in lists if values)


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_benchmarks_run(kind: Any, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "measure", lambda **_: LIMITS)
    benchmark, arguments = kind(), first_arguments(kind)
    if hasattr(benchmark, "setup_cache"):
        arguments = (benchmark.setup_cache(), *arguments)
    if hasattr(benchmark, "setup"):
        try:
            benchmark.setup(*arguments)
        except NotImplementedError as error:
            assert kind.__module__.endswith("peers")
            pytest.skip(str(error))
    result = getattr(benchmark, method)(*arguments)
    if method.startswith("track_"):
        assert result > 0
        assert isinstance(getattr(kind, method).unit, str)


def test_asv_finds_benchmarks_in_the_suite_alone() -> None:
    """It looks through the commands' modules too, for names like these."""
    import asv_bench

    for found in pkgutil.iter_modules(asv_bench.__path__, "asv_bench."):
        names = vars(importlib.import_module(found.name)) if not found.ispkg else {}
        assert not [name for name in names if name.lower().startswith(PREFIXES)], found.name


def test_suite_has_shapes_of_all_kinds() -> None:
    """Every parameter of the suite that is a shape makes one, and all shapes of the grid are there."""
    from asv_bench.benchmarks.calls import Calls

    assert set(shapes.select(Calls.params)) == set(shapes.PUBLIC) | set(shapes.ODD)
