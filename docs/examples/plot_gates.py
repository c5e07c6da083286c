"""
What the gates of a trained network do
======================================

A published network reads a protein, and we look inside: the input, forget and output gates of its first layer, forward,
over the sequence. The outputs come from the LSTM; the gates are the equations in NumPy.
"""

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl
from numba_lstm import demo
from numba_lstm.demo.disorder import one_hot

weights = demo.DisorderNetwork().lstm
size = weights.hidden_size
protein = demo.bundled_proteins()[0]
x = one_hot(protein.sequence)[:150]

# The first layer's forward direction alone, as a network of its own.
names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
lstm = nl.LSTM(x.shape[1], size).eval()
lstm.load_state_dict({name: getattr(weights, name) for name in names})
output, _ = lstm(x)
before = np.concatenate([np.zeros((1, size), np.float32), output[:-1]])

sums = x @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + before @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
gates = 1 / (1 + np.exp(-sums.reshape(len(x), 4, size)))
# Units that forget least first.
order = np.argsort(-gates[:, 1].mean(axis=0))

figure, panels = plt.subplots(3, sharex=True, figsize=(8, 7), layout="constrained")
for axes, gate, name in zip(panels, (0, 1, 3), ("input gate i", "forget gate f", "output gate o"), strict=True):
    image = axes.imshow(gates[:, gate, order].T, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set(ylabel="unit", title=name)
panels[-1].set_xlabel("residue")
figure.colorbar(image, ax=panels, label="0 closed, 1 open")
plt.show()
