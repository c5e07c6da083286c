"""What compiled kernels were made of: one digest of the code that goes into them, in whatever form it is shipped.

Sources in a folder or a zip, bytecode without sources, modules frozen into an executable: the loader that Python
imports a module with also tells what is in it.
"""
from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

PACKAGE = __name__.rsplit(".", 2)[0]

STAMPED = tuple(f"{PACKAGE}.{wing}" for wing in ("kernels", "simd"))
"""Wings whose modules make kernels: an edit of any of them compiles anew, and an edit of any other module does not."""


class UnknownCodeError(Exception):
    """Nothing tells what a module consists of; the text says which."""


def _modules() -> list[str]:
    """Return the names of the wings, of their modules, and of those within them."""
    names, packages = list(STAMPED), list(STAMPED)
    while packages:
        package = packages.pop()
        spec = importlib.util.find_spec(package)  # which imports no more than what it lies in
        folders = spec.submodule_search_locations if spec is not None else None
        for each in pkgutil.iter_modules(folders or (), f"{package}."):
            names.append(each.name)
            if each.ispkg:
                packages.append(each.name)
    return sorted(names)


def _constant(value: Any) -> Iterator[str]:
    """Say what a constant of bytecode is, the same in every process: sets have an order that is not."""
    if isinstance(value, CodeType):
        yield from _instructions(value)
    elif isinstance(value, frozenset):
        yield from sorted(repr(each) for each in value)
    elif isinstance(value, tuple):
        yield f"tuple of {len(value)}"
        for each in value:
            yield from _constant(each)
    else:
        yield repr(value)


def _instructions(code: CodeType) -> Iterator[str]:
    """Say what a code object does.  Not ``marshal``: its bytes depend on who else holds the objects."""
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    yield repr((code.co_name, counts, names, code.co_code, getattr(code, "co_exceptiontable", b"")))
    yield from _constant(code.co_consts)


def _content(module: str) -> str:
    """Return the source text of a module, or what its bytecode does if there is none."""
    try:
        spec = importlib.util.find_spec(module)
        loader: Any = spec and spec.loader
        source: str | None = loader.get_source(module)
        if source is not None:
            return source
        code = loader.get_code(module)
    except Exception as error:  # loaders of frozen applications raise what they like
        raise UnknownCodeError(f"the code of {module} cannot be read, {type(error).__name__}: {error}") from error
    if code is None:
        raise UnknownCodeError(f"{module} has neither source nor bytecode")
    return "\n".join(_instructions(code))


def code_stamp() -> str:
    """Return a digest of the kernels, and of what generates code.

    Raises
    ------
    UnknownCodeError
        If one of those that are imported cannot be read, or is not listed.
    """
    modules = _modules()
    digest = hashlib.sha256()
    for module in modules:
        digest.update(f"{module}\n{_content(module)}\n".encode())
    for name in list(sys.modules):
        if name.startswith(tuple(f"{wing}." for wing in STAMPED)) and name not in modules:
            raise UnknownCodeError(f"{name} is not among the modules that its loader lists")
    return digest.hexdigest()
