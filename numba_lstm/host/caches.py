"""The sizes of caches, which decide how calls split their work.  Looked at when the first call is planned."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")

ASSUMED_L2 = 1 << 20
"""Bytes of a core's L2 where the system does not tell."""


@functools.cache
def l2_bytes() -> int:
    """Return what one core has of an L2 cache, in bytes; 1 MiB where the system does not tell.

    Cores that share one have equal parts of it, as when all of them take part in a call.  If cores differ, it is that
    of those that have the least: each takes an equal part of the work, and a call waits for the slowest.
    """
    parts = macos_l2_parts(_sysctl) if sys.platform == "darwin" else linux_l2_parts(CPUS)
    return min((part for part in parts if part > 0), default=ASSUMED_L2)


def linux_l2_parts(cpus: Path) -> Iterator[int]:
    """Yield for each L2 cache how many bytes a core has of it, by what Linux says in a folder of its CPUs.

    On AArch64 the firmware may leave out sizes, and in a container the folder may be hidden.
    """
    seen: set[str] = set()
    for cpu in cpus.glob("cpu[0-9]*"):
        if cpu.name in seen:
            continue
        for cache in cpu.glob("cache/index[0-9]*"):
            try:
                if _text(cache / "level") != "2" or _text(cache / "type") == "Instruction":
                    continue
                sharing = _numbers(_text(cache / "shared_cpu_list"))
                yield _size(_text(cache / "size")) * len(_threads(cpu) & sharing or sharing) // len(sharing)
            except (OSError, ValueError, ZeroDivisionError):
                continue
            seen |= {f"cpu{number}" for number in sharing}


def _threads(cpu: Path) -> set[int]:
    """Return the CPUs that are threads of the same core as one, itself among them."""
    try:
        return _numbers(_text(cpu / "topology" / "thread_siblings_list"))
    except (OSError, ValueError):
        return {int(cpu.name.removeprefix("cpu"))}


def _text(path: Path) -> str:
    return path.read_text("ascii").strip()


def _size(text: str) -> int:
    """Return the bytes of a size such as 1024K."""
    units = {"K": 1 << 10, "M": 1 << 20}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text)


def _numbers(text: str) -> set[int]:
    """Return the numbers of a list such as 0-3,8."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def macos_l2_parts(sysctl: Callable[[str], int | None]) -> Iterator[int]:
    """Yield for each kind of core how many bytes it has of an L2 cache, by what macOS says under some names.

    Apple's own CPUs have levels of performance, whose cores share caches; others have one size for all.
    """
    for level in range(sysctl("hw.nperflevels") or 0):
        size, cores = (sysctl(f"hw.perflevel{level}.{name}") for name in ("l2cachesize", "cpusperl2"))
        if size:
            yield size // (cores or 1)
    if not sysctl("hw.nperflevels"):
        yield sysctl("hw.l2cachesize") or 0


def _sysctl(name: str) -> int | None:
    """Return a number that macOS knows under a name, None if it knows none."""
    number, size = ctypes.c_uint64(), ctypes.c_size_t(8)
    try:
        call = ctypes.CDLL(None).sysctlbyname
        failed = call(name.encode(), ctypes.byref(number), ctypes.byref(size), None, ctypes.c_size_t(0))
    except (OSError, AttributeError):
        return None
    return None if failed else number.value
