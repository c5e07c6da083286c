"""
Serve many callers together, so that each costs less
====================================================

A service has callers who come when they like: microphones, sensors, players, each with a state of its own. Whoever is
served alone waits until all weights have gone through the processor. Those who are there at the same moment can share
that, and the more they are, the less each costs.

:class:`numba_lstm.serving.Batcher` brings them together, and each gets the bits of a stream of its own.
:doc:`/howto/service` says how to build a service with it, and when not to.
"""

import asyncio

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl
from numba_lstm.serving import Batcher

nl.set_num_threads(1)
lstm = nl.LSTM(128, 256, num_layers=2, seed=0).eval()

NUMBERS, STEPS, ROUNDS = [1, 4, 16, 64, 256], 10, 3
rng = np.random.default_rng(0)
inputs = rng.standard_normal((NUMBERS[-1], STEPS, 128), np.float32)
pauses = rng.exponential(0.02, (NUMBERS[-1], STEPS))

# %%
# A caller has a session, which keeps its state. It waits for some time, 20 ms on average, asks for a step, and waits
# again. Nobody knows of the others.


async def call(batcher, x, pauses):
    outputs = []
    async with await batcher.open() as session:
        for x_t, pause in zip(x, pauses, strict=True):
            await asyncio.sleep(pause)
            outputs.append(await session.step(x_t))
    return np.stack(outputs)


async def serve(number):
    async with Batcher(lstm, max_sessions=number) as batcher:
        callers = zip(inputs[:number], pauses[:number], strict=True)
        outputs = await asyncio.gather(*(call(batcher, *caller) for caller in callers))
        return outputs, batcher.counters()


# %%
# The batcher counts what it does, and how long that takes. This is tried three times with each number of callers. The
# outputs are those of a call for each caller alone, to the last bit, whoever happened to be in a batch. In a notebook,
# where an event loop runs already, write ``await serve(number)`` in place of ``asyncio.run(serve(number))``.

expected = [lstm(x)[0] for x in inputs]
costs, rows = [], []
for number in NUMBERS:
    for _ in range(ROUNDS):
        outputs, counters = asyncio.run(serve(number))
        assert np.array_equal(outputs, expected[:number])
        rows.append(counters["steps"] / counters["batches"])
        costs.append(1e6 * counters["computing_seconds"] / counters["steps"])
rows, costs = np.reshape(rows, (-1, ROUNDS)).mean(axis=1), np.reshape(costs, (-1, ROUNDS)).min(axis=1)

# %%
# The more callers, the more of them are in a batch. A step waits for others for ``max_wait`` seconds at most, 2 ms by
# default, and not at all where nobody else has been active lately.

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
bars = axes.bar(range(len(NUMBERS)), rows, color="C1")
axes.bar_label(bars, fmt="{:.2g}")
axes.set(xticks=range(len(NUMBERS)), xticklabels=NUMBERS, xlabel="callers", ylabel="steps in a batch, mean")
axes.margins(y=0.15)
plt.show()

# %%
# So a step costs less. The times are of the machine that built this page, whether it was idle or not.

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
axes.plot(range(len(NUMBERS)), costs, "o-", linewidth=3, markersize=8)
axes.set(xticks=range(len(NUMBERS)), xticklabels=NUMBERS, ylim=(0, None))
axes.set(xlabel="callers", ylabel="computing, µs a step")
axes.grid(axis="y", linewidth=0.4)
plt.show()
