"""
Run sequences of different lengths as one batch
===============================================

Proteins, sentences and recordings have different lengths. One call can compute all of them, and in a packed batch no
padding is computed in vain. :doc:`/howto/lengths` says how to make one.

Here two dozen proteins go through a published network at once. metapredict V3, a bidirectional LSTM of two layers,
gives each residue of a protein a score, from 0, in a fixed structure, to 1, disordered. It ships with the package.
"""

import matplotlib.pyplot as plt
import numpy as np

from numba_lstm import demo

proteins = demo.bundled_proteins()[:24]
scores = list(demo.DisorderNetwork().score_many(protein.sequence for protein in proteins))

# %%
# Each protein is a bar as long as its sequence, and each residue has a colour.

longest_first = sorted(scores, key=len, reverse=True)
padded = np.full((len(scores), len(longest_first[0])), np.nan)
for row, each in zip(padded, longest_first, strict=True):
    row[: len(each)] = each

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
image = axes.imshow(padded, aspect="auto", cmap="coolwarm", vmin=0, vmax=1, interpolation="nearest")
axes.set(xlabel="residue", ylabel="protein", yticks=[])
figure.colorbar(image, label="disorder", ticks=[0, 1])
plt.show()

# %%
# The scores of the three most disordered proteins, along their sequences. What is above one half counts as disordered.

found = (demo.Row(protein.name, each) for protein, each in zip(proteins, scores, strict=True))
rows = demo.most_disordered(found, 3)

figure, panels = plt.subplots(3, figsize=(6, 4.8), dpi=120, layout="constrained")
for axes, row in zip(panels, rows, strict=True):
    position = np.arange(1, row.scores.size + 1)
    axes.plot(position, row.scores, linewidth=1)
    axes.fill_between(position, 0.5, row.scores, where=row.scores > 0.5, alpha=0.3)
    axes.axhline(0.5, linewidth=0.8, linestyle=":", color="gray")
    axes.set(title=row.name, xlim=(1, row.scores.size), ylim=(0, 1.02), ylabel="score")
panels[-1].set_xlabel("residue")
plt.show()
