"""
Train a published network further, without torch
================================================

A network that was trained for other data than yours can often be mended by a few more steps of training. With
:meth:`numba_lstm.LSTM.vjp` that needs nothing but NumPy, and an optimizer that you write or take from SciPy. Take torch
where you want layers, schedules and GPUs; :doc:`/howto/training` compares, and explains the parts.

metapredict's network says which residues of a protein are disordered, from a complete sequence. Here every second
residue is unknown, at random, as in a damaged record. The published weights were not trained for that, and fail. They
are trained further by Adam, written out below, and by L-BFGS of SciPy. What counts is the error on proteins that
neither of them sees.
"""

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl
from numba_lstm import demo, io
from numba_lstm.demo.disorder import LAYER_NORM_EPS, WEIGHTS, one_hot

nl.set_num_threads(1)
STEPS = 40

# %%
# The data ship with the package: proteins of up to 350 residues, and what the published network makes of the complete
# sequences, which is the right answer here. Every second protein is for training. The others are held out, four times
# each, since much depends on where the gaps are. Sequences of different lengths are packed.

pairs = [
    (one_hot(protein.sequence), scores[:, None])
    for protein, scores in zip(demo.bundled_proteins(), demo.published_scores(), strict=True)
    if len(scores) <= 350
]


def packed(pairs):
    inputs, scores = (nl.pack_sequence(sequences, enforce_sorted=False) for sequences in zip(*pairs, strict=True))
    return inputs, scores.data[:, 0]


def with_gaps(inputs, rng):
    """Return the sequences with every second residue unknown, on average."""
    known = rng.random((len(inputs.data), 1)) < 0.5
    return inputs._replace(data=inputs.data * known)


inputs, scores = packed(pairs[::2])
held_inputs, held_scores = packed(pairs[1::2] * 4)
held_gaps = with_gaps(held_inputs, np.random.default_rng(1))

# %%
# The LSTM is trained, the layers behind it stay as they are: a layer norm, a linear unit and a clip. So their gradients
# are not needed, but the loss goes back through them. The loss is the mean square error.

lstm = nl.LSTM.load(WEIGHTS, prefix="lstm.")
published = {name: np.array(parameter) for name, parameter in lstm.state_dict().items()}
arrays = io.read(WEIGHTS)
weight = arrays["layer_norm.weight"] * arrays["linear_layers.0.weight"][0]
bias = arrays["layer_norm.bias"] @ arrays["linear_layers.0.weight"][0] + arrays["linear_layers.0.bias"]


def head(rows):
    """Return scores before the clip of rows of the LSTM's output, and what the way back needs."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + LAYER_NORM_EPS)
    normed = centred / deviation
    return normed @ weight + bias, normed, deviation


def rms_error(inputs, scores):
    return np.sqrt(np.mean(np.square(np.clip(head(lstm(inputs)[0].data)[0], 0, 1) - scores)))


def loss_and_gradients(inputs, scores):
    (output, _), backward = lstm.vjp(inputs)
    sums, normed, deviation = head(output.data)
    error = np.clip(sums, 0, 1) - scores
    d_sums = 2 / error.size * error * ((sums > 0) & (sums < 1))
    d_normed = d_sums[:, None] * weight
    along = (d_normed * normed).mean(axis=1, keepdims=True)
    d_output = (d_normed - d_normed.mean(axis=1, keepdims=True) - normed * along) / deviation
    return np.mean(np.square(error)), backward(d_output, wrt=published).parameters


# %%
# Adam, with new gaps at every step.


class Adam:
    """The optimizer of Kingma and Ba (2015)."""

    def __init__(self, rate=1e-3, decay=(0.9, 0.999), epsilon=1e-8):
        self.rate, self.decay, self.epsilon = rate, decay, epsilon
        self.steps, self.means, self.squares = 0, {}, {}

    def step(self, parameters, gradients):
        """Return the parameters after a step."""
        self.steps += 1
        (a, b), after = self.decay, dict(parameters)
        for name, gradient in gradients.items():
            self.means[name] = a * self.means.get(name, 0) + (1 - a) * gradient
            self.squares[name] = b * self.squares.get(name, 0) + (1 - b) * gradient**2
            mean, square = self.means[name] / (1 - a**self.steps), self.squares[name] / (1 - b**self.steps)
            after[name] = parameters[name] - self.rate * mean / (np.sqrt(square) + self.epsilon)
        return after


adam, rng = Adam(), np.random.default_rng(2)
curves = {"Adam": []}  # gradients taken, errors in training and held out
for taken in range(STEPS):
    loss, gradients = loss_and_gradients(with_gaps(inputs, rng), scores)
    curves["Adam"].append((taken, np.sqrt(loss), rms_error(held_gaps, held_scores)))
    lstm.load_state_dict(adam.step(lstm.state_dict(), gradients))
complete = rms_error(held_inputs, held_scores)

# %%
# L-BFGS wants a function that is always the same, so all its gaps are of one draw. Parameters, and gradients, are one
# long array. It tries points that it does not go to; the curve has those where it went.

try:
    from scipy.optimize import minimize
except ModuleNotFoundError:
    print("SciPy is not installed here")
else:
    ends = np.cumsum([array.size for array in published.values()])[:-1]
    same_gaps = with_gaps(inputs, rng)
    losses, curves["L-BFGS"] = [], []

    def function(parameters):
        parts = zip(published.items(), np.split(parameters, ends), strict=True)
        lstm.load_state_dict({name: part.reshape(array.shape) for (name, array), part in parts})
        loss, gradients = loss_and_gradients(same_gaps, scores)
        losses.append(loss)
        if len(losses) == 1:
            went(parameters)
        return loss, np.concatenate([gradient.ravel() for gradient in gradients.values()])

    def went(parameters):
        curves["L-BFGS"].append((len(losses) - 1, np.sqrt(losses[-1]), rms_error(held_gaps, held_scores)))

    start = np.concatenate([array.ravel() for array in published.values()])
    minimize(function, start, jac=True, method="L-BFGS-B", callback=went, options={"maxfun": STEPS})

# %%
# The error on the proteins that are held out. The published weights are hardly better than to give every residue the
# mean, and ten gradients mend a good part of that. Then the ways part.

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
for name, points in curves.items():
    taken, _, held = zip(*points, strict=True)
    axes.plot(taken, held, linewidth=3, label=name)
axes.axhline(held_scores.std(), linestyle=":", linewidth=2, color="gray", label="the mean for all")
axes.set(xlabel="gradients taken", ylabel="error, held out", xlim=(0, STEPS - 1), ylim=(0, None))
axes.legend(loc="lower left")
plt.show()

# %%
# Beside it, dashed, the error on the proteins that are trained with. Adam meets other gaps at every step, and what it
# learns goes on helping with proteins that it has not seen. L-BFGS learns its one draw of gaps by heart: its error in
# training falls much lower, and the one that counts rises again. So stop it early, or give it more data: two dozen
# proteins are few.

figure, axes = plt.subplots(figsize=(6, 4.2), dpi=120, layout="constrained")
for name, points in curves.items():
    taken, training, held = zip(*points, strict=True)
    (line,) = axes.plot(taken, held, label=f"{name}, held out")
    axes.plot(taken, training, "--", color=line.get_color(), label=f"{name}, training")
    print(f"{name}: in training {training[0]:.2f} to {training[-1]:.2f}, held out {held[0]:.2f} to {held[-1]:.2f}")
axes.set(xlabel="gradients taken", ylabel="rms error of scores", xlim=(0, STEPS - 1), ylim=(0, None))
axes.legend()
plt.show()

# %%
# This has a price. For complete sequences the published network is right by definition; this is how far off the
# trained one is there.

print(f"held out, complete sequences, after Adam: {complete:.2f}")
