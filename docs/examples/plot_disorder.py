"""
Which parts of a protein are disordered?
========================================

A published network, metapredict V3, gives each residue of a protein a score: from 0, in a fixed structure, to 1,
disordered. It is a bidirectional LSTM of two layers, and ships with the package. Proteins of different lengths go
through it as one packed batch.
"""

import matplotlib.pyplot as plt
import numpy as np

from numba_lstm import demo

proteins = demo.bundled_proteins()[:24]
scores = demo.DisorderNetwork().score_many(protein.sequence for protein in proteins)
found = (demo.Row(protein.name, each) for protein, each in zip(proteins, scores, strict=True))
rows = demo.most_disordered(found, 3)

figure, panels = plt.subplots(3, figsize=(8, 6), layout="constrained")
for axes, row in zip(panels, rows, strict=True):
    position = np.arange(1, row.scores.size + 1)
    axes.plot(position, row.scores, linewidth=1)
    axes.fill_between(position, 0.5, row.scores, where=row.scores > 0.5, alpha=0.3)
    axes.axhline(0.5, linewidth=0.8, linestyle=":", color="0.4")
    axes.set(title=row.name, xlim=(1, row.scores.size), ylim=(0, 1.02), ylabel="score")
panels[-1].set_xlabel("residue")
plt.show()
