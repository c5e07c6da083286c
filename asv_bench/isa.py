"""Time numba_lstm beside torch with fewer instructions: ``python -m asv_bench.isa --peers PYTHON``.

Variables of the environment tell both what they have: engines take turns as in ``peers``, over some shapes of each
kind, first with all that the CPU can do, then without AVX-512, then without AVX2 and fused multiply-adds.  What they
have understood stands above the table.  The exit status is 1 if an engine fails, compiles for something else, or
takes longer than torch in the geometric mean.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import engines, peer_tables, report, shapes, timing
from .turns import Measured, add_options, complain, keep, measure_all, take_turns

PAGE = report.ROOT / "docs" / "howto" / "platforms.md"

SHAPES = ["vad_step", "stac_small", "amp_block64", "crnn_b1", "awd_b1", "mingfei_15", "rnnt_b8", "big_b256"]
"""Single steps, sequences and batches, with weights in every cache."""

ENGINES = ("numba_lstm", "stream", "torch", "torch without oneDNN")


class InstructionSet(NamedTuple):
    """What both may use."""

    ours: str
    """What kernels are then compiled for."""
    variables: dict[str, str]
    """For Numba, for torch, and for oneDNN and MKL, from which torch has its products."""


SETS = {
    "AVX-512": InstructionSet("avx512", {}),
    "AVX2": InstructionSet(
        "avx2",
        {
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        },
    ),
    "SSE2": InstructionSet(
        "sse2 without FMA",
        {
            "NUMBA_CPU_NAME": "generic",
            "NUMBA_CPU_FEATURES": "",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",  # on CPUs of AMD, too, where MKL heeds no other variable
        },
    ),
}
"""From the widest, which is what the CPU has, to the narrowest."""

UNDERSTOOD = {
    "numba_lstm": "from numba_lstm.simd import target; t = target.host(); "
    "print(t.isa + ('' if t.fma else ' without FMA'))",
    "torch": "import torch; print(torch.backends.cpu.get_cpu_capability())",
}
"""What asks each of the two for the instructions that it uses."""


def understood(options: argparse.Namespace, variables: dict[str, str]) -> dict[str, str]:
    """Return what each of the two says it uses; nothing for one that is not installed."""
    said = {}
    for engine, code in UNDERSTOOD.items():
        python = sys.executable if engine in engines.OURS else options.peers
        environment = timing.environment(1) | variables
        done = subprocess.run(
            [python, "-c", code], cwd=report.ROOT, env=environment, capture_output=True, text=True, check=False
        )
        said[engine] = done.stdout.strip()
    return said


def gains(times: Mapping[str, dict[str, float]]) -> dict[str, float]:
    """Return for every shape how many times longer than we torch takes."""
    return {name: ratio for name, row in times.items() if (ratio := peer_tables.ratio(row)) is not None}


def measure(threads: int, options: argparse.Namespace) -> Measured:
    """Return for every set what both have understood, and times by shape; the versions; what went wrong."""
    results: dict[str, Any] = {}
    versions: dict[str, str] = {}
    complaints: list[str] = []
    for name in options.sets:
        kind = SETS[name]
        said = understood(options, kind.variables)
        if said["numba_lstm"] != kind.ours:
            complaints.append(f"{name}: kernels are compiled for {said['numba_lstm']}, not for {kind.ours}")
            continue
        figures, found, wrong = take_turns(threads, argparse.Namespace(**vars(options) | {"variables": kind.variables}))
        times = figures["seconds"]
        results[name] = {"understood": said, "seconds": times}
        versions |= found
        complaints += [f"{name}, {complaint}" for complaint in wrong]
        if gains(times) and (mean := statistics.geometric_mean(gains(times).values())) < 1:
            complaints.append(f"{name}, threads {threads}: geometric mean {mean:.2f}")
    return results, versions, complaints


def table(results: dict[str, Any]) -> str:
    """Return our times, torch's and ratios for every set, and the geometric means, for one number of threads."""
    header, last = ["network"], ["geometric mean"]
    rows = {name: [shapes.words(name)] for result in results.values() for name in result["seconds"]}
    for kind, result in results.items():
        header += [f"{kind}: numba_lstm", "torch", "ratio"]
        ratios = gains(result["seconds"])
        for name, row in result["seconds"].items():
            torch = row.get(peer_tables.best_peer(row) or "")
            times = [peer_tables.microseconds(taken) for taken in (peer_tables.ours(row), torch)]
            rows[name] += [*times, peer_tables.number(ratios.get(name), ".2f")]
        last += ["", "", peer_tables.number(statistics.geometric_mean(ratios.values()) if ratios else None, ".2f")]
    return report.markdown_table(header, [*rows.values(), last])


def describe(measured: dict[str, Any]) -> str:
    """Return the tables and what they mean."""
    runs: dict[str, dict[str, Any]] = measured["runs"]
    said = {name: result["understood"] for results in runs.values() for name, result in results.items()}
    levels = "; ".join(f"{name}: ours {each['numba_lstm']}, torch's {each['torch']}" for name, each in said.items())
    about = f"""Microseconds, float32; torch with or without oneDNN, whichever is faster, and the ratio is its time over
    ours. Instruction sets, in the words of each: {levels}."""
    tables = [f"{peer_tables.cores(threads)}\n\n{table(results)}" for threads, results in runs.items()]
    return "\n\n".join([report.paragraph(about), *tables])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.isa", description=__doc__.splitlines()[0])
    add_options(parser, SHAPES, ENGINES)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, metavar="NAME", help=", ".join(SETS))
    report.add_page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    measured, complaints = measure_all(options, measure)
    keep(measured, options.json)
    report.publish("isa", describe(measured), measured, options.page)
    return complain(complaints)


if __name__ == "__main__":
    sys.exit(main())
