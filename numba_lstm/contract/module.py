"""What modules share: parameters as attributes and in state dicts, modes, pickling, repr."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from .architecture import Architecture
from .checks.arrays import float_dtype
from .checks.attributes import meant
from .checks.constructor import boolean, generator, probability
from .checks.subclasses import own_call
from .loading import IncompatibleKeys, take
from .parameter import Layouts, Parameter, as_it_is, cast, drawn, frozen, plain_arrays, skip_drawing
from .weight_form import layouts
from .weights import Weights, changing

Self = TypeVar("Self", bound="Module")

_TO_COME = "_parameters_to_come"
"""The attribute of a module whose constructor is not to draw parameters."""


class Size:
    """An attribute that is read from the architecture and cannot be assigned to."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, module: Any, owner: type) -> Any:
        return self if module is None else getattr(module._architecture, self._name)

    def __set__(self, module: Any, value: Any) -> None:
        kind = type(module).__name__
        raise AttributeError(f"{self._name} cannot be changed: make a new {kind} and load the weights into it")


class Module:
    """The part of ``torch.nn.Module`` that a module without children and gradients needs.

    Parameters
    ----------
    dtype : float32 or float64
        Of parameters, inputs and outputs.
    seed : optional
        What ``numpy.random.default_rng`` takes.

    Notes
    -----
    A front end sets ``_architecture`` before, and says what its parameters are (`_shapes`).
    """

    hidden_size: Any
    training: bool
    _architecture: Architecture
    forward: Callable[..., Any]
    _sized: Callable[..., Any]
    """A class method that makes a module of an `Architecture` and options, whose parameters are yet to come."""

    _OPTIONS: tuple[str, ...] = ("training",)
    """What can be assigned to beside the parameters."""

    _form: str | None = None
    """In which weights are kept, if that is none of the two dtypes: what is in `_weights` is what it keeps then."""

    def __init__(self, dtype: Any, seed: Any) -> None:
        self._dtype = float_dtype(dtype)
        self._generator = generator(seed)
        self.training = True
        if self.__dict__.pop(_TO_COME, False):
            if seed is not None:
                skip_drawing(self._shapes(), self._dtype, self._generator)
        else:
            self.reset_parameters()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = own_call(cls)
        if own is not None:
            cls.__call__ = own  # type: ignore[method-assign]

    @classmethod
    def _of(cls: type[Self], architecture: Architecture, parameters: Mapping[str, Any], **options: Any) -> Self:
        """Return a module of some sizes and parameters, with the options that `_sized` takes."""
        module: Self = cls._sized(architecture, **options)
        module.load_state_dict(parameters)
        return module

    @classmethod
    def _empty(cls: type[Self], *arguments: Any, **options: Any) -> Self:
        """Return what the constructor makes of arguments, but for the parameters.

        Random numbers that follow are those that follow in a new module of that seed.  A subclass is called like any
        class, since nobody knows what its constructor does with what was drawn.
        """
        if "_FRONT_END" in vars(cls):
            module = cls.__new__(cls)
            module.__dict__[_TO_COME] = True
            construct: Any = module.__init__  # type: ignore[misc]
            construct(*arguments, **options)
        else:
            make: Any = cls
            module = make(*arguments, **options)
        module._weights = Weights({})
        return module

    def _keep(self, kept: Mapping[str, np.ndarray], form: str | None) -> None:
        """Take other parameters, in a form, of which nobody else has the arrays."""
        weights = Weights({name: frozen(array) for name, array in kept.items()})
        # In eval mode, for there is nothing that could be trained; and at once, as all that makes new weights.
        self.__dict__.update(_weights=weights, _form=form, training=False)

    @classmethod
    def _calling(cls: type[Self], architecture: Architecture, network: Any, **attributes: Any) -> Self:
        """Return a module in eval mode that is good for calls only: it has a network, and no parameters beside it.

        Attributes are those that a call reads beside the modules' common ones.
        """
        module = cls.__new__(cls)
        weights = Weights({})
        weights.network = network
        module.__dict__.update(
            attributes, _architecture=architecture, _dtype=network.dtype, _weights=weights, training=False
        )
        return module

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter by its name, in torch's order."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of ``repr``."""
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of parameters, inputs and outputs; cannot be changed."""
        return self._dtype

    def _complain_if_quantized(self, change: str) -> None:
        """Raise unless a module may be changed."""
        if self._form is not None:
            raise RuntimeError(
                f"this {type(self).__name__} is quantized to {self._form}, and cannot {change}: do that with the "
                "float32 module, and quantize it again"
            )

    def _layouts(self) -> Layouts:
        return layouts(self._shapes(), self._dtype, self._form)

    def _stored(self) -> dict[str, Parameter]:
        """Return the parameters by name, to be handed out; raise RuntimeError if one was changed in place."""
        parameters = self._weights.parameters
        plain_arrays(parameters, self._layouts())
        return parameters

    # --- modes ----------------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Switch dropout between layers on (or off) and return the module.

        Nothing else depends on it: gradients are those of `vjp`, in either mode.

        Parameters
        ----------
        mode : bool
            Whether dropout applies from now on.

        Raises
        ------
        ValueError
            If mode is no bool, as in torch.
        RuntimeError
            If it is True and the module is quantized, which is for inference.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        return self

    def eval(self: Self) -> Self:
        """Switch dropout off and return the module; no random numbers are drawn from now on."""
        return self.train(False)

    # --- parameters -----------------------------------------------------------------------------------------

    def parameters(self) -> Iterator[Parameter]:
        """Iterate over the parameters, in torch's order."""
        return iter(self._stored().values())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Iterate over names and parameters, in torch's order; ``prefix`` and a dot go before each name."""
        start = prefix + "." if prefix else ""
        return ((start + name, array) for name, array in self._stored().items())

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform in +-1 / sqrt(hidden_size), from the module's generator.

        Raises
        ------
        RuntimeError
            If the module is quantized.
        """
        self._complain_if_quantized("draw parameters")
        weights = Weights(drawn(self._shapes(), self.hidden_size, self._dtype, self._generator))
        with changing():
            self._weights = weights

    def state_dict(self, *, prefix: str = "") -> dict[str, Parameter]:
        """Return the parameters by name, in torch's order.

        Parameters
        ----------
        prefix : str
            Put before each name, such as ``"lstm."``.

        Returns
        -------
        dict of str to read-only array
            Not copies.  A later change of the module leaves them as they are.  Of a quantized module they are what it
            keeps, see `quantize`.

        Examples
        --------
        >>> from numba_lstm import LSTM
        >>> list(LSTM(3, 5, bias=False).state_dict(prefix="lstm."))
        ['lstm.weight_ih_l0', 'lstm.weight_hh_l0']
        """
        return {prefix + name: array for name, array in self._stored().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take parameters from a mapping; copied and cast.

        Parameters
        ----------
        state_dict : mapping of str to array
            NumPy arrays, torch tensors, or whatever ``numpy.asarray`` takes.
        strict : bool
            Whether its names must be exactly the module's.

        Returns
        -------
        IncompatibleKeys
            A named tuple ``(missing_keys, unexpected_keys)``; with ``strict`` both are empty.

        Raises
        ------
        RuntimeError
            With all that is wrong, in torch's words.  Nothing was changed then.  Shapes must fit with
            ``strict=False`` too.  Also if this module is quantized, or the parameters are int8 with scales.
        TypeError
            If it is no mapping, or has masked arrays.

        Examples
        --------
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, seed=0)
        >>> lstm.load_state_dict(LSTM(3, 5, seed=1).state_dict())
        <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        self._complain_if_quantized("load a state dict")
        loaded, keys = take(state_dict, self._shapes(), self._dtype, strict, type(self).__name__)
        with changing():
            self._weights = self._weights.changed(loaded)
        return keys

    # --- attributes -----------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Parameter:
        weights: Weights | None = self.__dict__.get("_weights")
        if weights is not None and name in weights.parameters:
            return weights.parameters[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        weights: Weights | None = self.__dict__.get("_weights")
        if weights is not None and name in weights.parameters:
            self._complain_if_quantized(f"be given another {name}")
            try:
                array = cast(value, self._dtype)
            except TypeError as error:
                raise TypeError(f"{name} {error}") from None
            shape = self._shapes()[name]
            if array.shape != shape:
                raise ValueError(f"{name} should have shape {shape}, got: {array.shape}")
            with changing():
                self._weights = self._weights.changed({name: array})
            return
        if name == "batch_first":
            boolean(name, value)
        elif name == "dropout":
            value = probability(value)
        elif name == "training":
            if value:
                self._complain_if_quantized("go into train mode")
        elif name == "forward":
            raise AttributeError(f"no call would see another forward: make a subclass of {type(self).__name__} with it")
        elif weights is not None and name not in self.__dict__ and not hasattr(type(self), name):
            like = meant(name, weights.parameters, self._OPTIONS)
            if like is not None:
                raise AttributeError(
                    f"{name} is no parameter of this {type(self).__name__}, and no call would see it. Did you mean "
                    f"{like}? An attribute of your own may begin with an underscore, or be called something else"
                )
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._weights.parameters})

    def __getstate__(self) -> dict[str, Any]:
        # The packed weights stay behind: they are large, and in an order that depends on the machine.
        return {**self.__dict__, "_weights": self._stored()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        dtype = float_dtype(state["_dtype"])  # NumPy's own object again
        quantized = state.get("_form") is not None
        parameters = {
            name: as_it_is(array) if quantized else cast(array, dtype) for name, array in state["_weights"].items()
        }
        self.__dict__.update(state, _dtype=dtype, _weights=Weights(parameters))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
