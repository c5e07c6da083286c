"""
What the gates of a trained network do
======================================

A published network reads a protein, and :meth:`numba_lstm.LSTM.trace` looks inside: the input, forget and output gates
of its first layer, forward, over the sequence.
"""

import matplotlib.pyplot as plt
import numpy as np

from numba_lstm import demo
from numba_lstm.demo.disorder import one_hot

lstm = demo.DisorderNetwork().lstm
protein = demo.bundled_proteins()[0]
first, *_ = lstm.trace(one_hot(protein.sequence))  # of two layers with two directions

shown = slice(150)
# Units that forget least first.
order = np.argsort(-first.f[shown].mean(axis=0))

figure, panels = plt.subplots(3, sharex=True, figsize=(8, 7), layout="constrained")
gates = {"input gate i": first.i, "forget gate f": first.f, "output gate o": first.o}
for axes, (name, gate) in zip(panels, gates.items(), strict=True):
    image = axes.imshow(gate[shown, order].T, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set(ylabel="unit", title=name)
panels[-1].set_xlabel("residue")
figure.colorbar(image, ax=panels, label="0 closed, 1 open")
plt.show()
