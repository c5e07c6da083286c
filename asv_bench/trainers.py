"""numba_lstm and its peers at training: what runs a step, forward and backward.  As a command: times one of them.

Used by `turns` as `engines` is.  A step gives the gradients of the input and of all parameters; optimizers are no part
of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import engines, timing
from .engines import Arrays, Unsupported
from .shapes import Case, Shape

STATES = "kept, states"
"""The figure of what is kept with ``keep="states"``, beside "kept"."""


class Trainer(NamedTuple):
    """A network, ready to be trained."""

    call: Callable[[], Any]
    """A step."""
    output: Callable[[Any], np.ndarray]
    """Takes what ``call`` returns; all gradients, one behind the other, see `sizes`."""
    forward: Callable[[], Any]
    """The forward pass alone, where no gradients will be wanted."""
    kept: Callable[[], dict[str, int]]
    """Returns bytes that lie between the two passes beside input, output and parameters; {} if nothing tells them."""


def output_gradient(shape: Shape) -> np.ndarray:
    """Return what the loss says of the output: random numbers (L, N, D * H_out)."""
    size = (shape.steps, shape.batch, shape.directions * shape.output_size)
    return np.random.default_rng(3).standard_normal(size).astype(np.float32)


def sizes(case: Case) -> list[int]:
    """Return how many numbers each gradient has, in the order of `Trainer.output`."""
    return [case.x.size, *(array.size for array in case.weights.values())]


def _joined(case: Case, d_input: Any, d_parameters: Any) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in (d_input, *(d_parameters[name] for name in case.weights))])


def _for_sequences(case: Case) -> np.ndarray:
    if case.hx:
        raise Unsupported("a step is not trained alone")
    return output_gradient(case.shape)


def _ours(case: Case, threads: int) -> Trainer:
    import numba_lstm

    d_output = _for_sequences(case)
    numba_lstm.set_num_threads(threads)
    lstm, x = engines.numba_lstm_module(case).train(), case.x

    def step() -> Any:
        _, backward = lstm.vjp(x)
        return backward(d_output)

    def kept() -> dict[str, int]:
        return {"kept": lstm.vjp(x)[1].nbytes, STATES: lstm.vjp(x, keep="states")[1].nbytes}

    return Trainer(step, lambda grads: _joined(case, grads.input, grads.parameters), lambda: lstm(x), kept)


def _torch(case: Case, threads: int) -> Trainer:
    import torch

    d_output = torch.from_numpy(_for_sequences(case))
    torch.set_num_threads(threads)
    lstm, x = engines.torch_module(case), torch.from_numpy(case.x).requires_grad_()

    def step() -> Any:
        lstm.zero_grad()
        x.grad = None
        lstm(x)[0].backward(d_output)
        return x.grad, {name: parameter.grad for name, parameter in lstm.named_parameters()}

    def forward() -> Any:
        with torch.inference_mode():
            return lstm(x)

    def kept() -> dict[str, int]:
        found: dict[int, int] = {}

        def pack(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output, _ = lstm(x)
        others = {tensor.untyped_storage().data_ptr() for tensor in (x, output, *lstm.parameters())}
        return {"kept": sum(size for place, size in found.items() if place not in others)}

    return Trainer(step, lambda grads: _joined(case, *grads), forward, kept)


def _torch_without_onednn(case: Case, threads: int) -> Trainer:
    import torch

    torch.backends.mkldnn.enabled = False  # for the process
    return _torch(case, threads)


def _jax(case: Case, threads: int) -> Trainer:
    shape, d_output = case.shape, _for_sequences(case)
    if shape.proj_size:
        raise Unsupported("written without a projection")
    # Read when jax is first used.
    several = "true" if threads > 1 else "false"
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={several} intra_op_parallelism_threads={threads}"
    import jax
    import jax.numpy as jnp

    def direction(weights: Any, x: Any, suffix: str) -> Any:
        w_ih, w_hh, b_ih, b_hh = (weights[name + suffix] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

        def step(state: Any, sums_of_input: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(sums_of_input + h @ w_hh.T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((shape.batch, shape.hidden_size), x.dtype)
        return jax.lax.scan(step, (zeros, zeros), x @ w_ih.T + b_ih + b_hh, reverse=suffix.endswith("_reverse"))[1]

    def network(weights: Any, x: Any) -> Any:
        for layer in range(shape.num_layers):
            suffixes = (f"_l{layer}", f"_l{layer}_reverse")[: shape.directions]
            x = jnp.concatenate([direction(weights, x, suffix) for suffix in suffixes], axis=-1)
        return x

    weights: Arrays = {name: jnp.asarray(array) for name, array in case.weights.items()}
    x, given = jnp.asarray(case.x), jnp.asarray(d_output)
    gradients = jax.jit(jax.grad(lambda weights, x: (network(weights, x) * given).sum(), argnums=(1, 0)))
    output = jax.jit(network)
    return Trainer(
        lambda: jax.block_until_ready(gradients(weights, x)),
        lambda grads: _joined(case, *grads),
        lambda: jax.block_until_ready(output(weights, x)),
        dict,
    )


TRAINERS: dict[str, Callable[[Case, int], Trainer]] = {
    "numba_lstm": _ours,
    "torch": _torch,
    "torch without oneDNN": _torch_without_onednn,
    "jax": _jax,
}


def figures(trainer: Trainer, budget: float) -> dict[str, float]:
    """Return the times of a step and of a forward pass, and the bytes between."""
    forward = timing.seconds_per_call(trainer.forward, budget).median
    return {**engines.seconds(trainer, budget), "forward": forward, **trainer.kept()}


if __name__ == "__main__":
    engines.main(TRAINERS, figures)
