"""What the parts of a call cost, measured, one row for a kind of CPU.

``python -m asv_bench.costs`` measures the row of the machine that it runs on.  A choice that is wrong costs some per
cent near the sizes where two ways are equally fast, and nothing else, since all ways give the same bits.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

from ...simd.target import Target, host


@dataclass(frozen=True)
class Costs:
    """What one core takes, where nothing else is said."""

    fma_ns: float
    """One multiply-add of two vectors."""
    l2_bytes_per_ns: float
    """Weights that are read from L2."""
    l3_bytes_per_ns: float
    """Weights that are read from L3."""
    shared_l3_bytes_per_ns: float
    """Weights that are read from L3 while other cores read the same ones."""
    update_ns: float
    """Gates of one vector of units to states."""
    meet_ns: float
    """All members of a crew wait for each other."""
    exchange_bytes_per_ns: float
    """What others of a crew made of h is read."""
    launch_ns: float
    """Threads are woken, and are done."""
    pause_ns: float
    """One look of a thread that waits for others."""
    float16_ns: float = 0.0
    """A vector of weights in float16 is widened, where the units of multiply-adds do it; elsewhere it takes nothing."""
    bfloat16_ns: float = 0.0
    """The same for bfloat16."""

    def widen_ns(self, form: str | None) -> float:
        """Return what it takes to make floats of a vector of weights that are kept in a form."""
        return {"float16": self.float16_ns, "bfloat16": self.bfloat16_ns}.get(form or "", 0.0)


_ZEN4 = Costs(
    fma_ns=0.30,
    l2_bytes_per_ns=110.0,
    l3_bytes_per_ns=60.0,
    shared_l3_bytes_per_ns=33.0,
    update_ns=20.0,
    meet_ns=300.0,
    exchange_bytes_per_ns=1.7,
    launch_ns=6000.0,
    pause_ns=20.0,
)

# Two cores of an Emerald Rapids.  Against the row before, which had the multiply-adds and the L3 of Zen 4, crews are
# taken earlier: 4 rows of 256 units and 16 steps take 0.29 ms for 0.36.  A launch took 3,400 to 5,000 ns; at that, two
# threads were given steps that are faster on one.
_GOLDEN_COVE = Costs(
    fma_ns=0.20,
    l2_bytes_per_ns=120.0,
    l3_bytes_per_ns=32.0,
    shared_l3_bytes_per_ns=33.0,
    update_ns=33.0,
    meet_ns=310.0,
    exchange_bytes_per_ns=3.0,
    launch_ns=6000.0,
    pause_ns=11.7,
    float16_ns=0.40,
    bfloat16_ns=0.19,
)

# Zen 4 with the L2 of a Sapphire Rapids core, for CPUs that nobody has measured.  Of those few have units that widen
# numbers and multiply none: it takes one instruction like a multiply-add, or where there is none for it, a dozen.
_NOT_MEASURED = replace(_ZEN4, l2_bytes_per_ns=145.0, float16_ns=0.3, bfloat16_ns=0.3)

# Measured with two cores of one L3.  Two that read the same weights got 130 bytes in a nanosecond each, as one alone;
# at that, 16 rows of one step were given to slices, which took 5 to 14 % longer than a crew: what is read is not free
# beside multiply-adds, as the estimate has it.  Launches were one after the other; where threads sleep in between, as
# they do where calls are rare, one takes longer.
_ZEN5 = Costs(
    fma_ns=0.12,
    l2_bytes_per_ns=215.0,
    l3_bytes_per_ns=130.0,
    shared_l3_bytes_per_ns=60.0,
    update_ns=14.8,
    meet_ns=100.0,
    exchange_bytes_per_ns=15.0,
    launch_ns=3000.0,
    pause_ns=23.0,
)

COSTS = {
    "zen4": _ZEN4,
    "zen5": _ZEN5,
    "avx512": _GOLDEN_COVE,
    "avx2": _NOT_MEASURED,
    "neon": _NOT_MEASURED,
    "sse2": replace(_NOT_MEASURED, float16_ns=2.0),
}
"""Rows by the family of ``target``, or by the instruction set for CPUs of no family."""


def costs(target: Target | None = None) -> Costs:
    """Return the row of the table for a target, this process's by default."""
    target = target or host()
    return COSTS.get(target.family) or COSTS[target.isa]
