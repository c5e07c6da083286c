"""Measure one program, with and without `accelerate`, in this process; ``python -m asv_bench.clients`` starts it."""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import timing


class Program(NamedTuple):
    """What a package makes of a network."""

    model: Any
    """The module that `accelerate` is given."""
    run: Callable[[], Any]
    """Does the program's work once, and returns its results."""


Maker = Callable[[], Program]


class Clock:
    """The CPU time of this process that recurrent modules take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Until now, or since it was set."""
        self._depth = 0
        self._began = 0.0

    def start(self, *_: Any) -> None:
        """Be called before a module's forward."""
        self._depth += 1
        if self._depth == 1:  # else within one that runs already
            self._began = time.process_time()

    def stop(self, *_: Any) -> None:
        """Be called after it."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.process_time() - self._began


def lstms(model: Any) -> dict[str, Any]:
    """Return the modules of torch's LSTM kinds in a model, subclasses and accelerated ones too, by their names."""
    import torch

    return {
        name: module for name, module in model.named_modules() if isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell))
    }


@contextmanager
def clocked(model: Any) -> Iterator[Clock]:
    """Have a clock run while LSTMs of a model do."""
    clock = Clock()
    handles = []
    for module in lstms(model).values():
        handles += [module.register_forward_pre_hook(clock.start), module.register_forward_hook(clock.stop)]
    try:
        yield clock
    finally:
        for handle in handles:
            handle.remove()


def replaced(model: Any) -> str:
    """Return what `accelerate` has replaced in a model, and how many of the same kind it has left."""
    from numba_lstm.io.torch import report

    kept = lstms(model)
    each = [(one.kind.rpartition(".")[2], one.accelerated) for one in report(model) if one.name in kept]
    all_of_them = Counter(kind for kind, _ in each)
    done = Counter(kind for kind, accelerated in each if accelerated)
    return ", ".join(
        f"{count} {kind}" if done[kind] == count else f"{done[kind]} of {count} {kind}"
        for kind, count in all_of_them.items()
    )


def leaves(result: Any) -> list[Any]:
    """Return the arrays and texts of nested results; numbers that stand in one sequence are one array."""
    if hasattr(result, "detach"):
        return [result.detach().numpy()]
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, (str, int, float)) or result is None:
        return [result]
    items = list(result.values() if isinstance(result, dict) else result)
    if items and all(isinstance(item, (int, float)) for item in items):
        return [np.array(items)]
    return [leaf for item in items for leaf in leaves(item)]


def difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference of results, each divided by the largest number of its array.

    Infinite if texts, shapes or what is no number are not the same.
    """
    pairs = leaves(ours), leaves(theirs)
    if len(pairs[0]) != len(pairs[1]):
        return float("inf")
    worst = 0.0
    for a, b in zip(*pairs, strict=True):
        if isinstance(a, str) or isinstance(b, str) or a is None or b is None:
            if type(a) is not type(b) or a != b:
                return float("inf")
            continue
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        kept = np.isfinite(b)
        if a.shape != b.shape or not np.array_equal(a[~kept], b[~kept], equal_nan=True):
            return float("inf")
        a, b = a[kept], b[kept]
        if not np.isfinite(a).all():
            return float("inf")
        if b.size:
            worst = max(worst, float(np.abs(a - b).max() / (np.abs(b).max() or 1.0)))
    return worst


def seed() -> None:
    """Have everything that is drawn from now on be the same each time."""
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - it is the packages that draw
    torch.manual_seed(0)


def results(program: Program) -> Any:
    """Return the results of a run that begins with the same random numbers each time."""
    seed()
    return program.run()


def measure(make: Maker, rounds: int, budget: float) -> dict[str, Any]:
    """Return a program's times, whole and of its LSTMs, with torch's modules and with ours, in turns.

    Returns
    -------
    dict
        ``"whole"`` and ``"lstm"``: seconds of CPU time of a run by torch and by ours, medians of the rounds;
        ``"difference"``; ``"replaced"``.
    """
    from numba_lstm.io.torch import accelerate

    seed()
    theirs = make()
    seed()
    ours = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        accelerate(ours.model)
    expected = results(theirs)
    figures: dict[str, Any] = {
        "replaced": replaced(ours.model),
        "difference": difference(results(ours), expected),
        "warnings": [str(each.message) for each in caught],
    }
    both = {"theirs": theirs, "ours": ours}

    def medians(seconds: Callable[[Program], float]) -> list[float]:
        taken: dict[str, list[float]] = {key: [] for key in both}
        for _ in range(rounds):
            for key, program in both.items():
                taken[key].append(seconds(program))
        return [float(np.median(each)) for each in taken.values()]

    def whole(program: Program) -> float:
        seed()
        return timing.seconds_per_call(program.run, budget, samples=3, clock=time.process_time).median

    def lstm_part(program: Program) -> float:
        seed()
        with clocked(program.model) as clock:
            program.run()
            if not clock.seconds:
                raise RuntimeError("no LSTM ran")
            clock.seconds, runs, began = 0.0, 0, time.process_time()
            while not runs or time.process_time() - began < budget:
                program.run()
                runs += 1
            return clock.seconds / runs

    return figures | {"whole": medians(whole), "lstm": medians(lstm_part)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write what was measured into a file."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.clients.measure", description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(arguments)
    timing.pin(1)

    import torch

    import numba_lstm

    from .programs import PROGRAMS, prepare

    torch.set_num_threads(1)
    numba_lstm.set_num_threads(1)
    prepare()
    figures = measure(PROGRAMS[options.program].make, options.rounds, options.budget)
    options.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
