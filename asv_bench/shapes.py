"""What is timed: shapes of networks and inputs that people run, and how many operations they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

GATES = 4


class Shape(NamedTuple):
    """Sizes of a network and of its input, with torch's names where torch has them."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0
    steps: int = 1
    batch: int = 1

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Of one direction."""
        return self.proj_size or self.hidden_size

    def weights(self) -> list[tuple[int, int]]:
        """Return for each layer how many weights one direction has for its input, and for its state."""
        inputs, counts = self.input_size, []
        for _ in range(self.num_layers):
            recurrent = GATES * self.hidden_size * self.output_size + self.proj_size * self.hidden_size
            counts.append((GATES * self.hidden_size * inputs, recurrent))
            inputs = self.directions * self.output_size
        return counts

    def flop(self) -> int:
        """Return the operations of all matrix products, two for a multiply-add."""
        return 2 * self.directions * self.steps * self.batch * sum(map(sum, self.weights()))

    def intensity(self) -> float:
        """Return the operations for each byte of float32 weights; recurrent ones are read for every step."""
        read = sum(of_input + self.steps * recurrent for of_input, recurrent in self.weights())
        return self.flop() / (4 * self.directions * read)

    def read_again(self) -> int:
        """Return how many weights are read before one of them is needed again: all, or a layer's recurrent ones."""
        if self.steps == 1:
            return self.directions * sum(map(sum, self.weights()))
        return max(recurrent for _, recurrent in self.weights())

    def streams(self) -> bool:
        """Return whether this is one step of one direction, which is what a stream does."""
        return self.steps == 1 and not self.bidirectional

    def __str__(self) -> str:
        layers = f"{self.num_layers} x " if self.num_layers > 1 else ""
        both = ", bidirectional" if self.bidirectional else ""
        projection = f" to {self.proj_size}" if self.proj_size else ""
        equals = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"  # a narrow column of a table may break elsewhere
        count = f"L{equals}{self.steps}, N{equals}{self.batch}"
        return f"{self.input_size} to {layers}{self.hidden_size}{projection}{both}; {count}"


PUBLIC = {
    # One step at a time: a guitar amplifier, voice activity, the STAC-ML market models.
    "amp_step": Shape(1, 40),
    "vad_step": Shape(128, 128),
    "stac_tiny": Shape(128, 128, 2),
    "stac_small": Shape(256, 256, 3),
    "stac_med": Shape(480, 480, 3),
    "stac_deep": Shape(320, 320, 6),
    # One sequence: audio, text recognition, speakers, language models, speech recognition.
    "amp_block64": Shape(1, 40, steps=64),
    "onednn837": Shape(24, 32, bidirectional=True, steps=63),
    "ge2e_b1": Shape(40, 256, 3, steps=160),
    "crnn_b1": Shape(512, 256, 2, bidirectional=True, steps=64),
    "awd_b1": Shape(400, 1150, steps=70),
    "rnnt_b1": Shape(1024, 1024, 2, steps=50),
    "elmo_b1": Shape(512, 4096, proj_size=512, steps=20),
    # Batches.
    "mingfei_15": Shape(250, 200, steps=15, batch=20),
    "torch81634": Shape(256, 256, 2, steps=500, batch=8),
    "rnnt_b8": Shape(1024, 1024, 2, steps=50, batch=8),
    "ge2e_b32": Shape(40, 256, 3, steps=160, batch=32),
    "crnn_b16": Shape(512, 256, 2, bidirectional=True, steps=64, batch=16),
    "awd_b32": Shape(400, 1150, steps=70, batch=32),
    "big_b64": Shape(512, 512, 2, steps=128, batch=64),
    "big_b256": Shape(128, 256, steps=64, batch=256),
}
"""Published networks and the shapes that other projects time."""

ODD = {
    "odd_13": Shape(13, 13, steps=100, batch=7),
    "odd_51": Shape(51, 51, 2, steps=80, batch=3),
    "odd_100": Shape(100, 100, 2, bidirectional=True, steps=100, batch=10),
    "odd_300": Shape(300, 300, steps=60),
    "odd_350": Shape(350, 350, 2, steps=40, batch=12),
    "wide_input": Shape(2000, 32, steps=64, batch=2),
    "five_rows": Shape(128, 128, steps=100, batch=5),
    "nine_rows": Shape(256, 256, steps=100, batch=9),
    "long_small": Shape(4, 20, steps=5000),
}
"""Sizes that fit no vector and no tile."""

FEW = {
    f"few_{batch}x{size}": Shape(size, size, steps=50, batch=batch)
    for size in (512, 768, 1024, 1536)
    for batch in range(2, 7)
}
"""Two to six rows, with weights that no L2 cache holds: each step reads them for next to nothing."""

TRAINING = {
    # The adding problem, runoff of a river's basin from a year of weather, forecasts, tags of words.
    "adding_b32": Shape(2, 64, steps=100, batch=32),
    "runoff_b64": Shape(27, 256, steps=365, batch=64),
    "forecast_b32": Shape(7, 64, 2, steps=336, batch=32),
    "tagger_b32": Shape(350, 100, bidirectional=True, steps=37, batch=32),
    # Text recognition, speakers, a language model, one sequence.
    **{name: PUBLIC[name] for name in ("crnn_b16", "ge2e_b32")},
    "awd_b20": Shape(400, 1150, steps=70, batch=20),
    "online_b1": Shape(128, 128, steps=200),
}
"""What people train on CPUs."""

WORDS = {
    "amp_step": "guitar amplifier, 1 step",
    "vad_step": "voice detector, 1 step",
    "stac_tiny": "market model of 2 x 128, 1 step",
    "stac_small": "market model of 3 x 256, 1 step",
    "stac_med": "market model of 3 x 480, 1 step",
    "stac_deep": "market model of 6 x 320, 1 step",
    "amp_block64": "guitar amplifier, 64 steps",
    "onednn837": "32 units, bidirectional, 63 steps",
    "ge2e_b1": "speaker encoder, 1 utterance",
    "crnn_b1": "text recognizer, 1 line",
    "awd_b1": "language model, 1 sequence",
    "rnnt_b1": "speech recognizer, 1 utterance",
    "elmo_b1": "word vectors, 1 sentence",
    "mingfei_15": "200 units, batch of 20",
    "torch81634": "2 x 256 units, batch of 8",
    "rnnt_b8": "speech recognizer, batch of 8",
    "ge2e_b32": "speaker encoder, batch of 32",
    "crnn_b16": "text recognizer, batch of 16",
    "awd_b32": "language model, batch of 32",
    "big_b64": "2 x 512 units, batch of 64",
    "big_b256": "256 units, batch of 256",
    **{name: f"{shape.hidden_size} units, batch of {shape.batch}" for name, shape in FEW.items()},
    "adding_b32": "adding problem, batch of 32",
    "runoff_b64": "river runoff, batch of 64",
    "forecast_b32": "forecast, batch of 32",
    "tagger_b32": "word tagger, batch of 32",
    "awd_b20": "language model, batch of 20",
    "online_b1": "128 units, 1 sequence",
}
"""What people read in tables and pictures instead of a name."""

GROUPS = {"public": PUBLIC, "odd": ODD, "few": FEW, "training": TRAINING}


def select(names: Sequence[str]) -> dict[str, Shape]:
    """Return the shapes of some names, each that of a shape or of a group.

    Raises
    ------
    ValueError
        If there is no such name.
    """
    known = {name: shape for group in GROUPS.values() for name, shape in group.items()}
    chosen: dict[str, Shape] = {}
    for name in names:
        if name in GROUPS:
            chosen |= GROUPS[name]
        elif name in known:
            chosen[name] = known[name]
        else:
            raise ValueError(f"no shape or group {name!r}; there are {', '.join([*GROUPS, *known])}")
    return chosen


def words(name: str) -> str:
    """Return what a shape is called in tables and pictures: its name if there are no words for it."""
    return WORDS.get(name, name)


def parameters(shape: Shape, dtype: type[np.floating] = np.float32) -> dict[str, np.ndarray]:
    """Return random weights by torch's names, as torch would initialise them."""
    rng = np.random.default_rng(0)
    bound = shape.hidden_size**-0.5
    rows = GATES * shape.hidden_size
    inputs, named = shape.input_size, {}
    for layer in range(shape.num_layers):
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: shape.directions]:
            sizes: dict[str, tuple[int, ...]] = {"bias_ih": (rows,), "bias_hh": (rows,)}
            sizes |= {"weight_ih": (rows, inputs), "weight_hh": (rows, shape.output_size)}
            if shape.proj_size:
                sizes["weight_hr"] = (shape.proj_size, shape.hidden_size)
            for name, size in sizes.items():
                named[name + suffix] = rng.uniform(-bound, bound, size).astype(dtype)
        inputs = shape.directions * shape.output_size
    return named


def sequence(shape: Shape, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Return a random input (L, N, H_in)."""
    size = (shape.steps, shape.batch, shape.input_size)
    return np.random.default_rng(1).standard_normal(size).astype(dtype)


def states(shape: Shape, dtype: type[np.floating] = np.float32) -> tuple[np.ndarray, np.ndarray] | None:
    """Return random first states (h_0, c_0) of a single step; None for a sequence, which starts from zeros.

    One step at a time means a stream, which has been somewhere before.  From zeros an engine may leave out the products
    with the state, half of the work, as ours does.
    """
    if shape.steps > 1:
        return None
    rng = np.random.default_rng(2)
    h, c = (
        (rng.standard_normal((shape.num_layers * shape.directions, shape.batch, size)) / 2).astype(dtype)
        for size in (shape.output_size, shape.hidden_size)
    )
    return h, c


class Case(NamedTuple):
    """A shape with the numbers that every engine gets for it."""

    shape: Shape
    weights: dict[str, np.ndarray]
    x: np.ndarray
    hx: tuple[np.ndarray, np.ndarray] | None


def case(shape: Shape, dtype: type[np.floating] = np.float32) -> Case:
    """Return random weights, input and first states."""
    return Case(shape, parameters(shape, dtype), sequence(shape, dtype), states(shape, dtype))
