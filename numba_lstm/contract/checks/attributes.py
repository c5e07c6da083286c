"""Names of attributes: one that is close to a parameter's is a misspelling, and would change nothing."""

from __future__ import annotations

from collections.abc import Collection

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
_NAMED = frozenset(kind + rest for kind in _KINDS for rest in ("", "_scale", "_l0", "_l0_scale", "_l0_reverse"))
"""What parameters are called: in an LSTM, in a cell, in int8.  No module has all of them."""

_CLOSE = 0.81
"""From which ratio on, that of difflib, one name is taken for another: ``weight_norm`` is just below."""


def meant(name: str, parameters: Collection[str], options: Collection[str]) -> str | None:
    """Return the attribute that somebody meant who assigns to another one; None if it is one of their own.

    Parameters
    ----------
    name : str
        Of no attribute that the module has.
    parameters, options : collection of str
        The module's: its arrays, and what else of it can be assigned.

    Notes
    -----
    A name that begins with an underscore is the caller's own.  So is one that goes on behind a whole name, as
    ``weight_hh_l0_raw`` and ``dropout_rate`` do.  What would be a parameter of another module, such as a bias in one
    without, is an error like a misspelling.

    Examples
    --------
    >>> meant("wieght_ih_l0", ["weight_ih_l0", "weight_hh_l0"], ["batch_first"])
    'weight_ih_l0'
    >>> meant("batchfirst", ["weight_ih_l0", "weight_hh_l0"], ["batch_first"])
    'batch_first'
    >>> meant("weight_hh_l0_raw", ["weight_ih_l0", "weight_hh_l0"], ["batch_first"])
    >>> meant("vocabulary", ["weight_ih_l0", "weight_hh_l0"], ["batch_first"])
    """
    if name.startswith("_"):
        return None
    from difflib import get_close_matches  # here: hardly anybody assigns what is not there

    spelled = name.lower()
    known = {*parameters, *_NAMED, *options}
    for like in get_close_matches(spelled, sorted(known), n=1, cutoff=_CLOSE):
        if name.startswith(like if like in options else f"{like}_"):
            return None
        return like if like in options else next(iter(get_close_matches(spelled, parameters, n=1, cutoff=0)), like)
    return None
