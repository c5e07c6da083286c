"""
Look inside: the gates of a trained network
===========================================

When a network does not do what you expect, see what its units remember. :meth:`numba_lstm.LSTM.trace` gives the gates,
the cell state and the hidden state of every step, next to the usual output: nothing has to be computed again by hand.

Here a published network reads a protein. The picture has the gates of its first layer in forward direction: a row for
each unit, those first that forget least. Where a gate is bright, it is open: the input gate takes in what is new, the
forget gate keeps the cell state, and the output gate shows it to the next layer and the next step.
:doc:`/howto/training` describes traces.
"""

import matplotlib.pyplot as plt
import numpy as np

from numba_lstm import demo
from numba_lstm.demo.disorder import one_hot

lstm = demo.DisorderNetwork().lstm
protein = demo.bundled_proteins()[0]
first, *_ = lstm.trace(one_hot(protein.sequence))  # of two layers with two directions

shown = slice(100)
order = np.argsort(-first.f[shown].mean(axis=0))

figure, panels = plt.subplots(3, sharex=True, figsize=(4, 2.8), dpi=150, layout="constrained")
gates = {"input": first.i, "forget": first.f, "output": first.o}
for axes, (name, gate) in zip(panels, gates.items(), strict=True):
    image = axes.imshow(gate[shown, order].T, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set(ylabel=name, yticks=[])
panels[-1].set_xlabel("residue")
figure.colorbar(image, ax=panels, label="open", ticks=[0, 1])
plt.show()
