"""
Measure which sizes run fast on your machine
============================================

Whether it pays to collect more sequences in a batch, or what a larger hidden size costs, depends on what a call waits
for. With few rows, that is the way of the weights from the cache; with many, arithmetic. This program finds out for the
machine that it runs on: it times calls of networks on one thread, and counts two operations for each multiply-add.

The times are of the machine that built this page, whether it was idle or not; :doc:`/performance` has those of an idle
one, and :doc:`/explain/kernel` says what the kernels do to be near the limits.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl

nl.set_num_threads(1)
batches, hidden, steps = [1, 2, 4, 8, 16, 32, 64], [32, 64, 128, 256, 512], 16
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

# %%
# The brighter, the faster. Numbers are rates in GFLOP/s.

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
axes.imshow(rate, origin="lower", aspect="auto", cmap="viridis")
for row, column in np.ndindex(rate.shape):
    colour = "white" if rate[row, column] < 0.6 * rate.max() else "black"
    axes.text(column, row, f"{rate[row, column]:.0f}", ha="center", va="center", color=colour, weight="bold")
axes.set(xticks=range(len(batches)), xticklabels=batches, yticks=range(len(hidden)), yticklabels=hidden)
axes.set(xlabel="batch size", ylabel="hidden size", title="GFLOP/s, one thread")
plt.show()

# %%
# The same points over the operations for each byte of recurrent weights, half the rows: a roofline. Where a line rises,
# weights are the limit and a larger batch is nearly free; the flat part on the right is the arithmetic's roof.

figure, axes = plt.subplots(figsize=(6, 4.2), dpi=120, layout="constrained")
for units, rates in zip(hidden, rate, strict=True):
    axes.loglog(np.array(batches) / 2, rates, "o-", label=f"hidden size {units}")
axes.set(xlabel="operations for each byte of recurrent weights in a step", ylabel="GFLOP/s")
axes.set(xticks=np.array(batches) / 2, yticks=[10, 20, 50, 100, 200], ylim=(10, None))
axes.xaxis.set_major_formatter("{x:g}")
axes.yaxis.set_major_formatter("{x:g}")
axes.minorticks_off()
axes.legend()
plt.show()
