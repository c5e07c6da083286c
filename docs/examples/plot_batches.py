"""
The same sequence in batches of other sizes
===========================================

One sequence is computed alone, and as the first row of larger batches. The picture counts in how many numbers the
output differs from that of the sequence alone. Ours never differs. The others are the same network with NumPy's matrix
products, and torch where it is installed: their libraries add in another order for other sizes.
"""

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl

sizes = [1, 2, 3, 5, 8, 13, 21, 32]
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


engines = {"numba_lstm": lambda batch: lstm(batch)[0], "NumPy": with_numpy}
assert np.allclose(with_numpy(x), lstm(x)[0], atol=1e-6)

try:
    import torch
except ModuleNotFoundError:
    print("torch is not installed here")
else:
    other = torch.nn.LSTM(128, 128, num_layers=2).eval()
    other.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in lstm.state_dict().items()})
    engines["torch"] = lambda batch: other(torch.from_numpy(batch))[0].detach().numpy()

figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
for name, run in engines.items():
    alone = run(x[:, :1].copy())
    percent = [100 * np.mean(run(x[:, :n].copy())[:, :1] != alone) for n in sizes]
    axes.plot(range(len(sizes)), percent, "o-", label=name)
assert np.array_equal(lstm(x)[0][:, :1], lstm(x[:, :1])[0])
axes.set(xticks=range(len(sizes)), xticklabels=sizes, xlabel="rows of the batch", ylabel="numbers that differ, %")
axes.set_ylim(-3, 103)
axes.legend()
plt.show()
