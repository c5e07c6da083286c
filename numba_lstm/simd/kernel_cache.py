"""Machine code of the entries on disk.

Numba's own cache stamps a function with the one file that it stands in, wants to own the folder that it reads from,
and lets two processes give two kernels the same file.  Here a kernel has a file of its own, which begins with a digest
of all that the kernel was made of and of what follows: a file of another version, or one that is damaged, does not
count.

Folders
    ``NUMBA_CACHE_DIR``, if it is set; ``__pycache__`` beside the sources; the user's cache folder.  The first of these
    that can be written to is where kernels are kept.  It and those before it are read, whoever owns them.
"""
from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.misc.appdirs import AppDirs

from .code_stamp import PACKAGE, UnknownCodeError, code_stamp

DIGEST_BYTES = 32

_SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "USING_SVML",
    "DEBUGINFO_DEFAULT",
    "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES",
    "LLVM_REFPRUNE_PASS",
    "LLVM_REFPRUNE_FLAGS",
)
"""What of ``numba.config`` changes machine code, beside the names of CPU and features, which are asked for anyway."""

config: Any = numba.config


class CacheWarning(UserWarning):
    """Compiled kernels cannot be kept on disk; every process will compile them again."""


@functools.cache
def _warn_once(reason: str, remedy: str) -> None:
    text = f"numba_lstm cannot keep its compiled kernels ({reason}); they are compiled again in every process."
    warnings.warn(f"{text}{remedy}", CacheWarning, stacklevel=2)


def _version() -> tuple[str, str]:
    """Return what tells the kernels of this package from those of any other, or "" and why it cannot be known."""
    try:
        made_of = code_stamp(), numba.__version__, llvmlite.__version__
    except UnknownCodeError as error:
        return "", str(error)
    return hashlib.sha256(repr(made_of).encode()).hexdigest(), ""


# Now, and not when a kernel is compiled: by then, there may be other files than those that were imported.
_VERSION, _UNKNOWN = _version()


def _candidates() -> Iterator[Path]:
    """Give the folders that may hold kernels.  Where other packages and versions are, ours has a folder in it."""
    name = f"{PACKAGE}_{_VERSION[:16]}"
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR, name)
    if not getattr(sys, "frozen", False):  # there it is unpacked to another folder at every start
        for path in sys.modules[PACKAGE].__path__:
            if os.path.isdir(path):
                yield Path(path, "__pycache__")
    user = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
    if user.is_absolute():  # else there is no home
        yield user / name


def _is_writable(folder: Path) -> bool:
    """Whether files can be written to a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits tell little of root, of file systems and of Windows.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that others see whole or not at all, and may read if the umask lets them."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}.part")
    try:
        part.write_bytes(data)
        try:
            os.replace(part, path)
        except PermissionError:
            # Windows lets nobody replace a file that is open: another process reads the same kernel at the moment.
            if sys.platform != "win32" or not path.exists():
                raise
    finally:
        part.unlink(missing_ok=True)


class KernelCache(NullCache):
    """What Numba asks for the kernels of one function, and gives those that it has compiled; it never stops a call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._folder: Path | None = None

    @property
    def cache_path(self) -> str | None:
        """The folder that a kernel was loaded from or written to; None if it is nowhere."""
        return None if self._folder is None else str(self._folder)

    def _key(self, signature: Any, codegen: Any) -> str:
        settings = [getattr(config, name, None) for name in _SETTINGS]
        python = sys.implementation.cache_tag, getattr(sys, "abiflags", "")
        return repr((self._name, str(signature), codegen.magic_tuple(), python, settings))

    def _file(self, folder: Path, key: str) -> Path:
        return folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.kernel"

    def _digest(self, key: str, content: bytes) -> bytes:
        return hashlib.sha256(f"{_VERSION} {key}\n".encode() + content).digest()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a kernel from the first folder that has it, or None."""
        target_context.refresh()
        key = self._key(sig, target_context.codegen())
        for folder in _candidates():
            try:
                data = self._file(folder, key).read_bytes()
                content = data[DIGEST_BYTES:]
                if data[:DIGEST_BYTES] == self._digest(key, content):
                    kernel = CompileResult._rebuild(target_context, *serialize.loads(content))
                    self._folder = folder
                    return kernel
            except Exception:  # it is not there, may not be read, or Numba cannot take it: then it is compiled
                pass
            if _is_writable(folder):
                return None
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel in the first folder that can be written to."""
        if data.library.has_dynamic_globals:  # which LLVM removes otherwise, because nothing uses them
            _warn_once("NUMBA_OPT=0 leaves addresses of this process in them", "")
            return
        tried = []
        try:
            key = self._key(sig, data.codegen)
            for folder in _candidates():
                if _is_writable(folder):
                    content = serialize.dumps(data._reduce())
                    _write_whole(self._file(folder, key), self._digest(key, content) + content)
                    self._folder = folder
                    return
                tried.append(str(folder))
            reason = "none of these folders can be written to, or has kernels for this version, CPU and dtype: "
            reason += ", ".join(tried)
        except Exception as error:  # a full disk
            reason = getattr(error, "strerror", None) or str(error)  # without the file's name: of many, one is told
        _warn_once(reason, " Set NUMBA_CACHE_DIR to a writable folder.")


def kernel_cache(function: Callable[..., Any]) -> Any:
    """Return the cache for a function's compiled code.

    Only functions of the package are kept: the stamp says nothing of others.
    """
    if not function.__module__.startswith(f"{PACKAGE}."):
        return NullCache()
    if not _VERSION:
        _warn_once(_UNKNOWN, " Those of another version could not be told from them.")
        return NullCache()
    return KernelCache(function)
