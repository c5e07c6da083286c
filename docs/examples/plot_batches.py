"""
Get the same result in every batch
==================================

A sequence may be computed alone today and among thirty others tomorrow. If its result changes with them, tests fail at
random, and nobody can find out later why a service has answered as it did. With most libraries it does change, in the
last digits: they add up a matrix product in another order when there are more rows. Here the bits stay as they are.

This example computes one sequence alone, and as the first row of larger batches. The picture counts how many numbers of
its output are not those that it has alone. The other engines are the same network with NumPy's matrix products, and
torch where it is installed. :doc:`/howto/reproducible` says what else leaves the bits alone.
"""

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl

sizes = [1, 2, 4, 8, 16, 32]
x = np.random.default_rng(0).standard_normal((20, sizes[-1], 128), np.float32)
lstm = nl.LSTM(128, 128, num_layers=2, seed=0).eval()


def with_numpy(x):
    for layer in range(2):
        w_ih, w_hh, b_ih, b_hh = lstm.all_weights[layer]
        h = c = np.zeros((x.shape[1], 128), np.float32)
        outputs = []
        for x_t in x:
            sums = x_t @ w_ih.T + h @ w_hh.T + b_ih + b_hh
            i, f, g, o = np.split(sums, 4, axis=1)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            outputs.append(h)
        x = np.stack(outputs)
    return x


engines = {"NumPy": with_numpy, "numba_lstm": lambda batch: lstm(batch)[0]}
assert np.allclose(with_numpy(x), lstm(x)[0], atol=1e-6)

try:
    import torch
except ModuleNotFoundError:
    print("torch is not installed here")
else:
    other = torch.nn.LSTM(128, 128, num_layers=2).eval()
    other.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in lstm.state_dict().items()})
    engines["torch"] = lambda batch: other(torch.from_numpy(batch))[0].detach().numpy()

# %%
# All of them compute the same function, to within a millionth. Whether the bits stay the same is another matter.

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
for name, run in engines.items():
    alone = run(x[:, :1].copy())
    percent = [100 * np.mean(run(x[:, :n].copy())[:, :1] != alone) for n in sizes]
    axes.plot(range(len(sizes)), percent, "o-", linewidth=3, markersize=8, label=name)
assert np.array_equal(lstm(x)[0][:, :1], lstm(x[:, :1])[0])
axes.set(xticks=range(len(sizes)), xticklabels=sizes, xlabel="sequences in the batch", ylabel="numbers that differ, %")
axes.set_ylim(-6, 106)
axes.legend(loc="center right")
plt.show()
