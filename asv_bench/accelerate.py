"""Time accelerated torch modules beside torch's own: ``python -m asv_bench.accelerate``.

Both are ``torch.nn.LSTM`` with the same parameters and tensors, called under ``torch.inference_mode`` in one process,
in turns.  A single step has states that are not zero.  Other lines are the tagger of the documentation: an embedding,
two bidirectional layers, and a linear layer; as it is, and in graphs of ``torch.compile``, one for all lengths.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import report, turns
from .peers import TOLERANCE
from .shapes import GROUPS, Shape, select, sequence, states, words
from .timing import pin, seconds_per_call

ROUNDS = 5
BUDGET = 0.2
"""Seconds for a module in a round."""


class Row(NamedTuple):
    """The same work by both."""

    name: str
    ours: float
    theirs: float
    """Seconds per call, the median of the rounds."""
    difference: float
    """The largest one between their outputs."""


LENGTHS = (20, 40, 80)
"""Words of the sentences of the compiled tagger."""


def tagger(torch: Any, length: int = 40) -> tuple[Any, tuple[Any, ...]]:
    """Return a model and its inputs."""

    class Tagger(torch.nn.Module):  # type: ignore[misc]
        """Words to tags."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(1000, 100)
            self.lstm = torch.nn.LSTM(100, 128, num_layers=2, bidirectional=True, batch_first=True)
            self.linear = torch.nn.Linear(256, 17)

        def forward(self, words: Any) -> Any:
            return self.linear(self.lstm(self.embedding(words))[0])

    return Tagger(), (torch.randint(0, 1000, (8, length)),)


def module(torch: Any, shape: Shape) -> tuple[Any, tuple[Any, ...]]:
    """Return an LSTM of a shape and its inputs: a sequence or, with states that are not zero, a single step."""
    lstm = torch.nn.LSTM(
        shape.input_size, shape.hidden_size, shape.num_layers, bidirectional=shape.bidirectional,
        proj_size=shape.proj_size,
    )  # fmt: skip
    x, hx = torch.from_numpy(sequence(shape)), states(shape)
    return lstm, (x, tuple(map(torch.from_numpy, hx))) if hx else (x,)


def both(model: Any) -> tuple[Any, Any]:
    """Return an accelerated copy of a model, and the model."""
    import copy

    from numba_lstm.io.torch import accelerate

    theirs = model.eval()
    return accelerate(copy.deepcopy(theirs)), theirs


def compare_compiled(torch: Any, repeats: int, budget: float) -> list[Row]:
    """Time the tagger in a graph for all lengths, as it is and accelerated; raise if there are several graphs."""
    from torch._dynamo import config
    from torch._dynamo.utils import counters

    with config.patch(allow_rnn=True):
        pair = [torch.compile(model, fullgraph=True, dynamic=True) for model in both(tagger(torch)[0])]
        rows = []
        for length in LENGTHS:
            _, inputs = tagger(torch, length)
            rows.append(compare(torch, f"tagger, compiled, L = {length}", pair, inputs, repeats, budget))
    if counters["stats"]["unique_graphs"] != len(pair):
        raise SystemExit(f"{counters['stats']['unique_graphs']} graphs were compiled for {len(pair)} models")
    return rows


def compare(
    torch: Any, name: str, pair: Sequence[Any], inputs: tuple[Any, ...], rounds: int, budget: float
) -> Row:
    """Time two models, ours and torch's."""
    ours, theirs = pair

    def output(result: Any) -> np.ndarray:
        tensor = result[0] if isinstance(result, tuple) else result
        array: np.ndarray = tensor.numpy()
        return array

    with torch.inference_mode():
        difference = float(np.abs(output(ours(*inputs)) - output(theirs(*inputs))).max())
        calls: dict[str, Callable[[], Any]] = {"ours": lambda: ours(*inputs), "theirs": lambda: theirs(*inputs)}
        taken: dict[str, list[float]] = {key: [] for key in calls}
        for _ in range(rounds):
            for key, call in calls.items():
                taken[key].append(seconds_per_call(call, budget).median)
    return Row(name, *(float(np.median(taken[key])) for key in calls), difference)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if results differ by more than rounding."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.accelerate", description=__doc__)
    parser.add_argument("shapes", nargs="*", default=["public"], metavar="SHAPE", help=f"or {', '.join(GROUPS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=BUDGET)
    parser.add_argument("--compiled", action="store_true", help="by torch.compile as well, which needs a C++ compiler")
    report.add_page_option(parser, report.FOLDER / "training.md")
    options = parser.parse_args(arguments)
    shapes = select(options.shapes)
    cores = pin(options.threads)

    import torch

    import numba_lstm

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    numba_lstm.set_num_threads(options.threads)
    models = {name: module(torch, shape) for name, shape in shapes.items()} | {"tagger, L = 40": tagger(torch)}
    rows = [
        compare(torch, name, both(model), inputs, options.rounds, options.budget)
        for name, (model, inputs) in models.items()
    ]
    if options.compiled:
        rows += compare_compiled(torch, options.rounds, options.budget)
    cells = [
        [words(row.name), str(shapes.get(row.name, "100 to 2 x 128, bidirectional, and its neighbours; N = 8")),
         f"{row.ours * 1e6:.1f}", f"{row.theirs * 1e6:.1f}", f"{row.theirs / row.ours:.2f}", f"{row.difference:.0e}"]
        for row in rows
    ]  # fmt: skip
    heads = ["network", "sizes", "accelerated, µs", "torch, µs", "torch / accelerated", "largest difference"]
    text = report.markdown_table(heads, cells)
    slower = [row.name for row in rows if row.ours >= row.theirs]
    text += f"\n\nFloat32, {options.threads} threads on cores {cores}, "
    text += f"medians of {options.rounds} rounds. "
    text += f"Slower than torch: {', '.join(map(words, slower))}." if slower else "None is slower than torch."
    report.publish("accelerate", text, report.own_circumstances("torch"), options.page)
    return turns.complain(
        [f"{row.name}: differs by {row.difference:.1e}" for row in rows if not row.difference <= TOLERANCE]
    )


if __name__ == "__main__":
    sys.exit(main())
