"""
Divide a large array among the workers of a cluster
===================================================

What is too large for one process, or takes it too long, goes to many: the records of ten thousand catchments, say. If
all fits into memory and one machine is enough, a call is simpler and no slower.

:func:`numba_lstm.io.dask.map_batches` is a call for a ``dask.array``, which is in chunks. Chunks of different sequences
do not depend on each other, and any worker may compute them. From one chunk along time to the next, the state is
carried on. However the array is divided, and whoever computes which chunk, the result has the bits of one call.

This needs the extra ``dask``. :doc:`/howto/cluster` says more, about real clusters too.
"""

import time

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client, LocalCluster, wait

import numba_lstm as nl
from numba_lstm import demo

nl.set_num_threads(1)
lstm = nl.LSTM(5, 192, batch_first=True, seed=0).eval()


def read(block_id):
    """Return records of 40 catchments and a year, as if from an archive."""
    time.sleep(0.03)  # which takes its time
    return np.random.default_rng(block_id).standard_normal((40, 365, 5), np.float32)


x = da.map_blocks(read, chunks=((40,) * 6, (365,) * 4, (5,)), meta=np.empty((0, 0, 0), np.float32))

# %%
# Three workers are enough to see what happens. Here they are threads of this process, which start at once. On a real
# cluster, give ``Client`` the address of its scheduler; the rest stays as it is.

cluster = LocalCluster(n_workers=3, threads_per_worker=1, processes=False, dashboard_address=None)
client = Client(cluster)
output, (h_n, c_n) = nl.io.dask.map_batches(lstm, x)
output = output.persist()  # its chunks stay with the workers who compute them
wait(output)
owners = client.who_has(output)  # before anything is fetched, since a worker that gathers chunks has copies of all
assert np.array_equal(output.compute(), lstm(x.compute())[0])

# %%
# The scheduler knows who has each chunk, and every colour is a worker. In another run the colours change, and the
# numbers do not. So a chunk that is lost with its worker can be computed again by any other.

workers = sorted(client.scheduler_info()["workers"])
worker = np.zeros(output.numblocks[:2])
for (_, row, step, _), holders in owners.items():
    worker[row, step] = workers.index(holders[0])

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
edges = [np.cumsum([0, *sizes]) for sizes in output.chunks]
axes.pcolormesh(edges[1], edges[0], worker, cmap="Set2", vmin=0, vmax=7, edgecolors="gray", linewidth=1)
for row, step in np.ndindex(worker.shape):
    middle = edges[1][step : step + 2].mean(), edges[0][row : row + 2].mean()
    axes.text(*middle, "ABC"[int(worker[row, step])], ha="center", va="center", weight="bold", color="black")
axes.set(xlabel="day", ylabel="catchment", xticks=edges[1], yticks=edges[0][::2], title="worker of each chunk")
axes.invert_yaxis()
plt.show()

# %%
# Sequences of different lengths are no array. :func:`numba_lstm.io.dask.map_sequences` takes a list of them, or a
# ``dask.bag``, and calls a function with batches of about equal lengths. Results come back in the order of the
# sequences. Here the function is a published network, and the sequences are proteins.

proteins = [protein.sequence for protein in demo.bundled_proteins()]
network = demo.DisorderNetwork()
scores = nl.io.dask.map_sequences(network.score_many, proteins, batch_steps=8000).compute()
alone = network.score_many(proteins)
assert all(np.array_equal(*pair) for pair in zip(scores, alone, strict=True))
print(f"{len(scores)} proteins of {min(map(len, scores))} to {max(map(len, scores))} residues")

client.close()
cluster.close()
