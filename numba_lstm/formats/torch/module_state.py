"""What the state of a module of torch's tells: that it is one, and whether its class alone says what it computes."""

from __future__ import annotations

from typing import Any

from .pickled_objects import Global, Pairs, Placeholder, value_of

_OF_TORCH = "torch.nn.utils."
"""Has hooks that compute parameters from others (weight norm, spectral norm, pruning), which their names tell."""


def is_module(state: Any) -> bool:
    """Return whether a state is that of a module of torch's."""
    return all(isinstance(value_of(state, name), Pairs) for name in ("_parameters", "_modules"))


def put_on(state: Any) -> str:
    """Return what a module computes with beside the code of its class, as words behind the name of that; or nothing."""
    if any(value_of(state, name) is not None for name in ("forward", "_call_impl")):
        return " with a forward that was put on"
    for name in ("_forward_pre_hooks", "_forward_hooks"):
        hooks = value_of(state, name)
        if isinstance(hooks, Pairs) and not all(map(_is_of_torch, hooks[1::2])):
            return " with hooks"
    return ""


def _is_of_torch(hook: Any) -> bool:
    kind = hook.kind if isinstance(hook, Placeholder) else hook
    return isinstance(kind, Global) and f"{kind.module}.".startswith(_OF_TORCH)
