"""What Numba compiles for: the instruction set.

Lane counts follow the features that Numba hands to LLVM, which ``NUMBA_CPU_NAME`` and
``NUMBA_CPU_FEATURES`` change, and not what the hardware could do.
"""
from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.codegen import get_host_cpu_features


@dataclass(frozen=True)
class Target:
    """The instruction set that kernels are compiled for."""

    architecture: str
    """"x86", "aarch64" or "other"."""
    isa: str
    """A row of ``blocksizes.TABLE``."""
    fma: bool
    """Whether a fused multiply-add is an instruction (without it, LLVM calls libm for every lane)."""
    family: str = ""
    """A row of ``blocksizes.FETCHING``: CPUs whose caches want to be asked in a way of their own."""
    dot: str = "plain"
    """A row of ``dot_products``: how four int8 are multiplied at once."""
    half: bool = False
    """Whether to widen float16 is an instruction (without it, LLVM calls a function for every lane)."""


def classify(architecture: str, features: frozenset[str]) -> Target:
    """Choose the row of the table that suits an architecture with these LLVM features."""
    if architecture == "aarch64":
        return Target(architecture, "neon", True, dot="dotprod" if "dotprod" in features else "plain", half=True)
    if architecture == "x86":
        fma = "fma" in features
        if "avx512f" in features:
            dot = "vnni" if "avx512vnni" in features else "maddubs" if "avx512bw" in features else "plain"
            return Target(architecture, "avx512", True, _family(features), dot, True)
        if "avx2" in features and fma:
            dot = "vnni" if features & {"avxvnni", "avx512vnni"} else "maddubs"
            return Target(architecture, "avx2", True, dot=dot, half="f16c" in features)
        return Target(architecture, "sse2", fma)
    return Target("other", "sse2", False)


def _family(features: frozenset[str]) -> str:
    """Return the family of a CPU with AVX-512: only AMD has SSE4a, and of AMD's only Zen 5 this instruction."""
    if "sse4a" not in features:
        return ""
    return "zen5" if "avx512vp2intersect" in features else "zen4"


@functools.cache
def host() -> Target:
    """Return the target that Numba compiles for in this process."""
    config: Any = numba.config
    text = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features()
    features = frozenset(f[1:] for f in text.split(",") if f.startswith("+"))
    name = llvm.get_process_triple().split("-")[0]
    families = {"x86_64": "x86", "i686": "x86", "aarch64": "aarch64", "arm64": "aarch64"}
    return classify(families.get(name, "other"), features)


def describe() -> str:
    """Return one line about the target, for reports."""
    t = host()
    family = f" {t.family}" if t.family else ""
    return f"{platform.machine()} {t.isa}{family}{'' if t.fma else ' without FMA'}"
