"""
Find speech in audio while it arrives
=====================================

A recording that is still going on cannot wait for its end. :meth:`numba_lstm.LSTM.stream` keeps the state of a network
between calls, and computes what is new. Silero VAD, a published detector of voices, hears 32 ms of audio at a time in
this way, and says how probable it is that they hold speech.

:doc:`/examples/silero_vad/silero_vad` explains the program, and :doc:`/howto/streams` how to stream other networks.
Its network and the recording are in ``docs/examples/silero_vad`` of the repository: run this in ``docs/examples``.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

vad = runpy.run_path(str(Path("silero_vad", "silero_vad.py")))
samples = vad["read_wav"](vad["SPEECH"])
detector = vad["VoiceDetector"]()
probability = np.concatenate([detector.push(samples[at : at + 512]) for at in range(0, samples.size, 512)])

# %%
# The file is given in pieces of 512 samples, as a microphone would.

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
edges = np.arange(probability.size + 1) * 0.032
axes.stairs(probability, edges, fill=True, color="C1", alpha=0.5, label="probability of speech")
time = np.arange(samples.size) / 16_000
axes.plot(time, 0.5 + 0.45 * samples / np.abs(samples).max(), linewidth=0.5, color="C0", label="waveform")
axes.set(xlabel="seconds", xlim=(0, time[-1]), ylim=(0, 1.55), yticks=[0, 1])
axes.legend(loc="upper left")
plt.show()
