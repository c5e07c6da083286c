"""Compare the forms of the weights on published networks: ``python -m asv_bench.trained --page``.

Those of the gallery: metapredict, in batches of whole proteins, and Silero VAD, step by step.  Errors are those of what
a user sees, scores and probabilities, from what float32 gives; a decision is on which side of one half a number is.
Forms take turns on one core; a time is the lowest of the rounds' medians.
"""

from __future__ import annotations

import argparse
import math
import runpy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import numba_lstm as nl

from . import engines, report, timing

PAGE = report.ROOT / "docs" / "howto" / "weights.md"

SILERO = report.ROOT / "docs" / "examples" / "silero_vad" / "silero_vad.py"

THRESHOLD = 0.5
"""Of a residue that counts as disordered, and of a chunk that counts as speech."""


class Network(NamedTuple):
    """A published network around its LSTM, which may be replaced by one of another form."""

    name: str
    lstm: nl.LSTM
    results: Callable[[nl.LSTM], np.ndarray]
    """What a user gets, numbers from 0 to 1."""
    work: Callable[[nl.LSTM], Callable[[], object]]
    """Returns what of it is the LSTM's, to be timed."""
    steps: int
    """Of it, over all sequences."""


def metapredict() -> Network:
    """Return the network of the demo, with its proteins."""
    from numba_lstm import demo
    from numba_lstm.demo.disorder import BATCH, one_hot

    network = demo.DisorderNetwork()
    proteins = sorted((protein.sequence for protein in demo.bundled_proteins()), key=len, reverse=True)
    packed = [
        nl.pack_sequence([one_hot(sequence) for sequence in proteins[first : first + BATCH]])
        for first in range(0, len(proteins), BATCH)
    ]

    def results(lstm: nl.LSTM) -> np.ndarray:
        network.lstm = lstm
        return np.concatenate(network.score_many(proteins))

    def work(lstm: nl.LSTM) -> Callable[[], object]:
        return lambda: [lstm(batch) for batch in packed]

    return Network("metapredict", network.lstm, results, work, sum(map(len, proteins)))


def silero() -> Network:
    """Return the network of the example, with its recording."""
    names = runpy.run_path(str(SILERO))
    network, samples = names["VoiceNetwork"](), names["read_wav"](names["SPEECH"])
    chunk, context = names["CHUNK"], names["CONTEXT"]
    padded = np.pad(samples, (context, -samples.size % chunk))
    features = [
        network.features(padded[first : first + context + chunk]) for first in range(0, padded.size - context, chunk)
    ]

    def results(lstm: nl.LSTM) -> np.ndarray:
        network.lstm = lstm
        probabilities: np.ndarray = names["listen"](samples, network).probabilities
        return probabilities

    def work(lstm: nl.LSTM) -> Callable[[], object]:
        stream, y = lstm.stream(), np.empty((1, lstm.hidden_size), np.float32)
        return lambda: [stream.step(x, out=y) for x in features]

    return Network("Silero VAD", network.lstm, results, work, len(features))


NETWORKS = (metapredict, silero)


def in_forms(lstm: nl.LSTM) -> dict[str, nl.LSTM]:
    """Return a module by the form of its weights."""
    return {form: lstm if form == "float32" else lstm.quantize(form) for form in engines.FORMS}


def seconds(works: dict[str, Callable[[], object]], rounds: int, budget: float) -> dict[str, float]:
    """Return how long each takes; they take turns."""
    lowest = dict.fromkeys(works, math.inf)
    for _ in range(rounds):
        for form, work in works.items():
            lowest[form] = min(lowest[form], timing.seconds_per_call(work, budget).median)
    return lowest


def file_bytes(lstm: nl.LSTM) -> int:
    """Return the size of a file of the module."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm.safetensors"
        lstm.save(path)
        return path.stat().st_size


def rows(network: Network, rounds: int, budget: float) -> list[list[str]]:
    """Return the lines of a network, one for each form."""
    forms = in_forms(network.lstm)
    taken = seconds({form: network.work(lstm) for form, lstm in forms.items()}, rounds, budget)
    exact = network.results(forms["float32"])
    lines = []
    for form, lstm in forms.items():
        found = network.results(lstm)
        error = np.abs(found.astype(np.float64) - exact)
        changed = int(np.count_nonzero((found >= THRESHOLD) != (exact >= THRESHOLD)))
        cells: list[Any] = [network.name, form, f"{file_bytes(lstm) / 1024:.0f}"]
        cells += [f"{taken[form] / network.steps * 1e6:.2f}", f"{taken['float32'] / taken[form]:.2f}"]
        cells += [f"{np.sqrt(np.mean(np.square(error))):.1e}", f"{error.max():.1e}", f"{changed:,} of {exact.size:,}"]
        lines.append(cells)
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.trained", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=timing.BUDGET, help="seconds for a figure, at least")
    report.add_page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    timing.pin(1)
    nl.set_num_threads(1)
    header = ["network", "weights in", "file, KiB", "LSTM, µs a step", "times as fast", "rms error", "largest error"]
    lines = [line for make in NETWORKS for line in rows(make(), options.rounds, options.budget)]
    text = report.markdown_table([*header, "decisions changed"], lines)
    report.publish("trained", text, report.own_circumstances(), options.page)


if __name__ == "__main__":
    main()
