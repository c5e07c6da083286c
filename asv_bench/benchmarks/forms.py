"""Streams and calls with weights in fewer bytes, and how these are made; one thread."""

from __future__ import annotations

from typing import ClassVar

from .. import engines, machine, packing, shapes, timing


class Forms:
    """One step of a stream, or one call of a sequence."""

    params: ClassVar = [
        ["int8", "float16"],
        ["vad_step", "stac_small", "stac_med", "stac_deep", "awd_b1", "rnnt_b1", "ge2e_b32", "big_b256"],
    ]
    param_names = ("form", "shape")

    def setup_cache(self) -> dict[str, machine.Machine]:
        """Measure the limits of a core, once for all benchmarks."""
        return machine.of_forms(machine.measure())

    def setup(self, limits: dict[str, machine.Machine], form: str, name: str) -> None:
        """Make a module and an input, and call once."""
        self.shape = shapes.select([name])[name]
        self.call = engines.make(form, self.shape, 1).call
        self.call()

    def time_call(self, limits: dict[str, machine.Machine], form: str, name: str) -> None:
        """Time one call."""
        self.call()

    def track_time_over_bound(self, limits: dict[str, machine.Machine], form: str, name: str) -> float:
        """Return the time over the least that arithmetic and memory allow with weights of this form."""
        return timing.seconds_per_call(self.call, samples=3).median / limits[form].bound(self.shape)

    track_time_over_bound.unit = "times"  # type: ignore[attr-defined]


class Quantizing:
    """From float32 parameters to packed weights of a form, beside the packing of float32."""

    params: ClassVar = ["int8", "float16", "bfloat16"]
    param_names = ("form",)

    shape = shapes.Shape(1024, 1024)

    def setup(self, form: str) -> None:
        """Make weights, and touch the pages."""
        self.weights = shapes.parameters(self.shape)
        packing.once(self.shape, self.weights, form)

    def time_quantize_and_pack(self, form: str) -> None:
        """Time both."""
        packing.once(self.shape, self.weights, form)
