"""
Speed over batch size and hidden size
=====================================

Rate of the multiply-adds, on one thread. With few rows, the weights' way from the cache is the limit, with many
arithmetic is. The second picture draws the same points over operations for each byte of weights, half the rows:
the flat part on the right is the arithmetic's roof. The times are of the machine that built this page, whether it was
idle or not; :doc:`/performance` has those of an idle one.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl

nl.set_num_threads(1)
batches, hidden, steps = [1, 2, 4, 8, 16, 32, 64], [16, 32, 64, 128, 256, 512], 16
rate = np.empty((len(hidden), len(batches)))
for row, units in enumerate(hidden):
    lstm = nl.LSTM(units, units, seed=0).eval()
    for column, rows in enumerate(batches):
        x = np.zeros((steps, rows, units), np.float32)
        seconds = []
        for _ in range(5):
            start = perf_counter()
            lstm(x)
            seconds.append(perf_counter() - start)
        products = 4 * units * units * rows * (2 * steps - 1)  # the first step has no state to multiply
        rate[row, column] = 2 * products / min(seconds) / 1e9

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
image = axes.imshow(rate, origin="lower", aspect="auto", cmap="viridis")
for row, column in np.ndindex(rate.shape):
    colour = "white" if rate[row, column] < 0.6 * rate.max() else "black"
    axes.text(column, row, f"{rate[row, column]:.0f}", ha="center", va="center", color=colour)
axes.set(xticks=range(len(batches)), xticklabels=batches, yticks=range(len(hidden)), yticklabels=hidden)
axes.set(xlabel="batch size", ylabel="hidden size")
figure.colorbar(image, label="GFLOP/s")
plt.show()

# %%
# As a roofline.

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for units, rates in zip(hidden, rate, strict=True):
    axes.loglog(np.array(batches) / 2, rates, "o-", label=f"H = {units}")
axes.set(xlabel="operations for each byte of recurrent weights in a step", ylabel="GFLOP/s")
axes.set(xticks=np.array(batches) / 2, yticks=[10, 20, 50, 100, 200], ylim=(10, 250))
axes.xaxis.set_major_formatter("{x:g}")
axes.yaxis.set_major_formatter("{x:g}")
axes.minorticks_off()
axes.legend(ncols=2)
plt.show()
