"""What `numba-lstm info` shows of a layer."""

from __future__ import annotations

from .._found import Found
from . import config as configs
from . import weights
from .classes import Refusal
from .config import Entry
from .places import Place


def found_at(place: Place) -> Found:
    entry = place.entry
    sizes: dict[str, object] = {}
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    obstacle = entry.obstacle
    try:
        for side in place.arrays:
            shapes.update(side.described())
        if place.arrays:
            first = weights.read(place.arrays[0], entry.directions[0].units if entry.directions else None)
            sizes |= {"input_size": first.input_size, "units": first.units}
        if entry.directions:
            options = entry.directions[0]
            if len(entry.directions) == 2:
                sizes["merge_mode"] = entry.merge_mode
            for name in ("return_sequences", "return_state", "go_backwards", "stateful"):
                if getattr(options, name):
                    sizes[name] = True
            if not options.plain:
                sizes["activation"] = options.activation.name
                sizes["recurrent_activation"] = options.recurrent_activation.name
    except Refusal as refusal:
        obstacle = obstacle or f"{refusal}: {configs.INSTEAD}"
    return Found(entry.name, entry.kind, sizes, shapes, obstacle, _left(entry))


def _left(entry: Entry) -> dict[str, tuple[object, str]]:
    """Return the options that `load_lstm` leaves to the caller."""
    if not entry.directions:
        return {}
    options, left = entry.directions[0], dict[str, tuple[object, str]]()
    if not options.return_sequences:
        left["return_sequences"] = (False, "what the layer returns is h_n, directions side by side")
    if options.stateful:
        left["stateful"] = (True, "give (h_n, c_n) to the next call, or use a stream")
    return left
