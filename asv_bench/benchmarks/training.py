"""Training steps, forward and backward; one thread."""

from __future__ import annotations

from typing import ClassVar

from .. import machine, shapes, timing, trainers, training


class Step:
    """The gradients of the input and of all parameters."""

    params: ClassVar = list(shapes.TRAINING)
    param_names = ("shape",)

    def setup_cache(self) -> machine.Machine:
        """Measure the limits of a core, once for all benchmarks."""
        return machine.measure()

    def setup(self, limits: machine.Machine, name: str) -> None:
        """Make a module, an input and a gradient of the output, and do a step."""
        self.shape = shapes.select([name])[name]
        self.trainer = trainers.TRAINERS["numba_lstm"](shapes.case(self.shape), 1)
        self.trainer.call()

    def time_step(self, limits: machine.Machine, name: str) -> None:
        """Time one step."""
        self.trainer.call()

    def track_share_of_peak(self, limits: machine.Machine, name: str) -> float:
        """Return the rate of the matrix products in per cent of what the core's multiply-add units can do."""
        taken = timing.seconds_per_call(self.trainer.call, samples=3).median
        return 100 * training.PASSES * self.shape.flop() / taken / limits.flop_per_second

    def track_step_over_forward(self, limits: machine.Machine, name: str) -> float:
        """Return the time of a step over that of a call."""
        step, forward = (
            timing.seconds_per_call(call, samples=3).median for call in (self.trainer.call, self.trainer.forward)
        )
        return step / forward

    def track_kept(self, limits: machine.Machine, name: str) -> int:
        """Return what lies between the passes."""
        return self.trainer.kept()["kept"]

    def track_kept_states(self, limits: machine.Machine, name: str) -> int:
        """Return the same with gates that are made again."""
        return self.trainer.kept()[trainers.STATES]

    track_share_of_peak.unit = "%"  # type: ignore[attr-defined]
    track_step_over_forward.unit = "times"  # type: ignore[attr-defined]
    track_kept.unit = "bytes"  # type: ignore[attr-defined]
    track_kept_states.unit = "bytes"  # type: ignore[attr-defined]
