"""Where in a file LSTMs and cells are, by the names of its arrays, and where the numbers of their parameters are."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from itertools import islice, takewhile
from typing import Any, NamedTuple

from ...formats.contents import WholeModule
from ...formats.printable import MOST_LISTED, listed
from ..architecture import CELL_NAME, NAME, Architecture
from ..state_dict import first_name, infer, infer_cell, quantized_name
from ..weight_form import SCALE, is_weight
from .reparametrized import ORIGINALS, PLAIN, SAVE_PLAIN, Source, source

_LSTM_NAME = rf"(?:{NAME})(?:[._].*)?"
_PATTERNS = {
    # A cell's names begin those of an LSTM, which are another module's.
    True: (CELL_NAME, rf"(?!{_LSTM_NAME}\Z)(?:{CELL_NAME})"),
    False: (NAME, rf"(?:{NAME})"),
}
_ENDS = {cell: re.compile(rf"(?:{plain})\Z") for cell, (plain, _) in _PATTERNS.items()}
_DERIVED = {
    cell: re.compile(rf"(?P<list>parametrizations\.)?(?P<name>{name})(?P<rest>[._].*)\Z", re.DOTALL)
    for cell, (_, name) in _PATTERNS.items()
}

_WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Attributes under which DataParallel, torch.compile, Lightning and FSDP have the module that they stand for."""

_STATISTICS = {
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "acc_delta",
    "grad", "grads", "gradients",
}  # fmt: skip
"""What optimizers keep for every parameter, often under the parameter's name."""

_MARKS = {
    "ln", "bn", "norm", "norms", "layernorm", "batchnorm", "groupnorm", "rmsnorm", "gamma", "beta", "peephole",
    "peepholes", "peep", "zoneout", "lnh", "h0", "c0", "hx0", "cx0",
}  # fmt: skip
"""Words in the names of what changed LSTMs have beside torch's parameters."""

_MARKED = re.compile(
    r"(init|initial|learned)_(h|c|hidden|cell|state|hidden_state|cell_state)|[hc]_0|[hc]x|state_?0|(hidden|cell)_state"
    r"|cell_clip|w_c[ifo]"
)
"""Whole names of what is learned beside them: the state before the first step, looks at the cell state."""


_QUANTIZED = re.compile(r"(|.*\.)(?:_all_weight_values|_packed_weight_[ih]h)(?:\.|\Z)", re.DOTALL)
NOT_TAKEN = "save a torch.nn.LSTM or LSTMCell with its weights, if it was quantized the one from before"


class _Place(NamedTuple):
    """What a name says."""

    prefix: str
    parameter: str
    part: str
    """The name in a recipe."""


def _place(name: str, cell: bool) -> _Place | None:
    """Take a name apart, if it is that of a parameter or of what one is computed from."""
    match = _ENDS[cell].search(name)
    if match:
        return _Place(name[: match.start()], match[0], PLAIN)
    match = _DERIVED[cell].search(name)
    if match:
        return _Place(name[: match.start()], match["name"], f"{match['list'] or ''}{PLAIN}{match['rest']}")
    return None


def _parent(prefix: str) -> str:
    return prefix[: prefix.rfind(".", 0, -1) + 1] if prefix.endswith(".") else prefix


def _bare(prefix: str) -> str:
    """Return a prefix without what wraps modules."""
    return ".".join(part for part in prefix.split(".") if part not in _WRAPPERS)


def concerns(name: str, prefix: str, cell: bool = False) -> bool:
    """Return whether a parameter under a prefix may be computed from what is under a name.

    Examples
    --------
    >>> concerns("rnn.weight_hh_l0_raw", "rnn."), concerns("rnn.weight_hh_l0_raw", "head.")
    (True, False)
    """
    place = _place(name, cell)
    return place is not None and _bare(place.prefix) in (_bare(prefix), _bare(_parent(prefix)))


class Located:
    """The LSTMs, or the cells, that the names in a file tell of.

    Parameters
    ----------
    names : iterable of str
        All of the file.
    cell : bool
        Whether cells are sought.
    inner : mapping of str to str
        Names without the keys of dicts around a state dict, by whole name.

    Examples
    --------
    >>> import numpy as np
    >>> located = Located(["a.weight_ih_l0", "a.weight_hh_l0", "a.weight_hh_l0_raw", "head.weight"])
    >>> located.prefixes
    ['a.']
    >>> shapes = {"a.weight_ih_l0": np.zeros((20, 3)), "a.weight_hh_l0_raw": np.zeros((20, 5))}
    >>> architecture, sources = located.understood("a.", shapes, {})
    >>> architecture.hidden_size, sources["weight_hh_l0"].parts
    (5, ('a.weight_hh_l0_raw',))
    """

    def __init__(self, names: Iterable[str], cell: bool = False, inner: Mapping[str, str] | None = None) -> None:
        self._names, self._cell, self._first = list(names), cell, first_name(cell)
        self._inner: dict[str, str] = {}
        groups: dict[str, dict[str, dict[str, str]]] = {}
        for name in self._names:
            place = _place(name, cell)
            if place is None:
                continue
            groups.setdefault(place.prefix, {}).setdefault(place.parameter, {})[place.part] = name
            if inner and name in inner:
                around = len(name) - len(inner[name])
                if around <= len(place.prefix):
                    self._inner[place.prefix] = place.prefix[around:]
        self._groups = _unwrapped(groups)
        self.prefixes = sorted(
            prefix for prefix, group in self._groups.items() if ORIGINALS & group.get(self._first, {}).keys()
        )
        """What stands before the names of each."""

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._names)

    @cached_property
    def _of_quantizers(self) -> list[str]:
        return [name for name in self._sorted if quantized_name([name])]

    @cached_property
    def _all(self) -> set[str]:
        """What a message about an unknown prefix looks through."""
        return {*self._names, *(each + self._first for each in self.prefixes)}

    def names(self, prefix: str) -> list[str]:
        """Return the whole names of what belongs to one of them; nothing if there is none under the prefix."""
        return [name for found in self._groups.get(prefix, {}).values() for name in found.values()]

    def whole_prefix(self, prefix: str) -> str:
        """Return a prefix of the file for one in which keys around a state dict, or wrappers, may be left out.

        Raises
        ------
        ValueError
            If there are several.
        """
        if prefix in self._groups:
            return prefix
        weights = [each for each in self.prefixes if not _STATISTICS & {*each.split(".")}]
        for shorter in (
            {each: self._inner.get(each) for each in weights},
            {each: _bare(each) for each in weights},
            {each: _bare(self._inner.get(each, each)) for each in weights},
        ):
            found = [each for each, short in shorter.items() if short == prefix]
            if len(found) > 1:
                raise ValueError(f"prefix {prefix!r} is there more than once: {listed(found)}")
            if found:
                return found[0]
        return prefix

    def understood(
        self, prefix: str, shapes: Mapping[str, Any], modules: Mapping[str, WholeModule], form: str | None = None
    ) -> tuple[Architecture, dict[str, Source]]:
        """Return the sizes of what is under a prefix of the file, and where its parameters are, by their own names.

        Parameters
        ----------
        prefix : str
            As `whole_prefix` returns it.
        shapes : mapping of str to array
            Anything with a ``shape``, by whole name.
        modules : mapping of str to WholeModule
            What the file says of modules, by prefix.
        form : {"float16", "bfloat16", "int8"}, optional
            In which weights are kept, if that was recorded: scales of int8 are then not parts of a source.

        Raises
        ------
        ValueError
            If there is nothing, something else, or not all of it; or if a parameter is computed in a way that
            cannot be known.
        """
        statistics = _STATISTICS & {*prefix.split(".")}
        if statistics and prefix in self._groups:
            raise ValueError(f"what is under prefix {prefix!r} is no weights, but an optimizer's {min(statistics)}")
        module = modules.get(prefix)
        if module is not None and prefix in self._groups:
            module.complain_if_other(self._cell)
        sources = self._sources(prefix, module is not None, form)
        found = {prefix + name: shapes[each.parts[0]] for name, each in sources.items()}
        if not found:
            self._complain_of_other_modules(prefix, other_modules(self._names, modules))
        architecture = (infer_cell if self._cell else infer)(found, prefix, self._all)
        if module is not None:
            module.complain_of_sizes(asdict(architecture))
        return architecture, sources

    def _sources(self, prefix: str, known: bool, form: str | None) -> dict[str, Source]:
        """Return where the parameters under a prefix are.

        If it is not known that they are those of torch's own module, what is beside them may tell that they are not.
        """
        group = self._groups.get(prefix, {})
        if form == "int8":
            group = {name: _without_scale(name, found) for name, found in group.items()}
        if group:
            scales = {*self.names(prefix)} - {whole for found in group.values() for whole in found.values()}
            below = _below(prefix, self._of_quantizers) if prefix.endswith(".") else []
            quantized = quantized_name(name for name in [*self.names(prefix), *below] if name not in scales)
            if quantized is not None:
                raise ValueError(
                    f"the weights under prefix {prefix!r} are quantized, as {quantized!r} tells: {NOT_TAKEN}"
                )
        sources = {name: source(prefix + name, found) for name, found in group.items()}
        if not known and sources:
            self._complain_of_others(prefix)
        return sources

    def _complain_of_other_modules(self, prefix: str, others: Mapping[str, str]) -> None:
        """Raise if there are only such, or one is what was asked for."""
        if others and (prefix in others or not self.prefixes):
            there = "; ".join(f"under {each!r} is a {others[each]}" for each in [*others][:MOST_LISTED])
            kind = "LSTMCell" if self._cell else "LSTM"
            raise ValueError(f"no parameters of torch.nn.{kind} under prefix {prefix!r}; {there}: {NOT_TAKEN}")

    def _complain_of_others(self, prefix: str) -> None:
        """Raise if a module has more than torch's LSTM.

        Under a prefix that ends in a dot is one module with all that it has, and torch's LSTM has parameters and
        nothing else.  At the top of a file there may be anything besides, so that only what is common in changed LSTMs
        tells.
        """
        own = {*self.names(prefix)}
        others = [name for name in _below(prefix, self._sorted) if name not in own]
        top = not prefix.endswith(".") or self._inner.get(prefix) == ""
        if top:
            others = [name for name in others if _marked(name[len(prefix) :])]
        if others:
            raise ValueError(
                f"under prefix {prefix!r} is more than the parameters of torch's module, as if it computed something "
                f"else: {listed(others)}; {SAVE_PLAIN}"
            )


def _below(prefix: str, names: list[str]) -> list[str]:
    """Return what begins with a prefix, of names in order: a file may have as many prefixes as names."""
    first = bisect_left(names, prefix)
    return list(takewhile(lambda name: name.startswith(prefix), islice(names, first, None)))


def _without_scale(name: str, found: dict[str, str]) -> dict[str, str]:
    """Return the parts of a weight without its scales, beside which it has to be; nothing else has any."""
    rest = {part: whole for part, whole in found.items() if part != PLAIN + SCALE or not is_weight(name)}
    if not rest:
        raise ValueError(f"{name} is missing, whose scales are there")
    return rest


def _unwrapped(groups: dict[str, dict[str, dict[str, str]]]) -> dict[str, dict[str, dict[str, str]]]:
    """Give what a wrapper keeps for the module in it to that module, as fastai's weight drop has it.

    ``rnn.weight_hh_l0_raw`` belongs to ``rnn.module.weight_ih_l0``, where nothing else of an LSTM is under ``rnn.``.
    """
    plain = {prefix for prefix, group in groups.items() if any(PLAIN in found for found in group.values())}
    below: dict[str, list[str]] = {}
    for prefix in plain:
        below.setdefault(_parent(prefix), []).append(prefix)
    for wrapper in groups.keys() - plain:
        wrapped = below.get(wrapper, [])
        for prefix in wrapped:
            for name, found in groups[wrapper].items():
                # Of several modules nobody knows for which one it is: parts that no recipe has are refused.
                others = {part if len(wrapped) == 1 else f"../{part}": whole for part, whole in found.items()}
                mine = groups[prefix].setdefault(name, {})
                mine |= {part if part not in mine else f"../{part}": whole for part, whole in others.items()}
        if wrapped:
            del groups[wrapper]
    return groups


def _marked(name: str) -> bool:
    """Return whether a name at the top of a file is one that changed LSTMs have."""
    if name.startswith(("weight_", "bias_")):
        return _place(name, True) is None and _place(name, False) is None
    if _MARKED.fullmatch(name.lower()):
        return True
    return not _MARKS.isdisjoint(re.split(r"[^a-z0-9]+|(?<=[a-z]{2})\d+", name.lower()))


def other_modules(names: Iterable[str], modules: Mapping[str, WholeModule]) -> dict[str, str]:
    """Return what else is an LSTM in a file and has other parameters, its class by prefix.

    Of modules in each other it is the outermost; what has torch's LSTMs in it is a container, however it is called.

    Examples
    --------
    >>> other_modules(["a._all_weight_values.0.param", "b.weight"], {})
    {'a.': 'quantized module'}
    """
    names = list(names)
    places = [_place(name, cell) for name in names for cell in (False, True)]
    within = sorted({place.prefix for place in places if place is not None and place.part in ORIGINALS})
    found = {match[1]: "quantized module" for match in map(_QUANTIZED.match, names) if match}
    found |= {prefix: each.kind for prefix, each in modules.items() if each.is_other_lstm}
    others: dict[str, str] = {}
    last = None
    for prefix in sorted(found):
        place = bisect_left(within, prefix)
        contains = place < len(within) and within[place].startswith(prefix)
        if not contains and (last is None or not prefix.startswith(last)):
            others[prefix], last = found[prefix], prefix
    return others
