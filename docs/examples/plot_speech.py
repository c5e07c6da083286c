"""
Is somebody speaking?
=====================

Silero VAD hears 32 ms of audio at a time, through :meth:`numba_lstm.LSTM.stream`, and gives the probability that they
hold speech. :doc:`/examples/silero_vad/silero_vad` explains the program.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

vad = runpy.run_path(str(Path("silero_vad", "silero_vad.py")))
samples = vad["read_wav"](vad["SPEECH"])
detector = vad["VoiceDetector"]()
probability = np.concatenate([detector.push(samples[at : at + 512]) for at in range(0, samples.size, 512)])

figure, (wave, speech) = plt.subplots(2, sharex=True, figsize=(8, 4.5), layout="constrained")
wave.plot(np.arange(samples.size) / 16_000, samples, linewidth=0.4, color="0.3")
wave.set(ylabel="waveform", xlim=(0, samples.size / 16_000))
speech.stairs(probability, np.arange(probability.size + 1) * 0.032, fill=True, alpha=0.6)
speech.set(xlabel="seconds", ylabel="probability of speech", ylim=(0, 1.02))
plt.show()
