"""Is somebody speaking?  The network of Silero VAD, fed as a microphone would: 32 ms at a time.

    python silero_vad.py [audio.wav] [--plot out.png]

Exit status: 0, or 2 after bad input.
"""
from __future__ import annotations

import argparse
import math
import os
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import load_file

import numba_lstm as nl

HERE = Path(__file__).parent
WEIGHTS = HERE / "silero_vad_16k.safetensors"
SPEECH = HERE / "speech_16k.wav"
EXPECTED = HERE / "expected.npz"

SAMPLE_RATE = 16_000

CHUNK = 512
"""New samples for each step of the network: 32 ms."""

CONTEXT = 64
"""Samples from before a chunk that go in front of it; as many are mirrored at its end."""

FRAME, HOP = 256, 128
"""Samples in a frame of the Fourier transform, and from one frame to the next."""

STRIDES = (1, 2, 2, 1)
"""Of the four convolutions, which make one vector of a chunk's four frames."""

SPEECH_FROM, SPEECH_WHILE = 0.5, 0.35
"""Probabilities at which speech begins and down to which it lasts: two, so that it does not flicker around one."""

PAUSE = 4
"""Chunks without speech that end a segment, 128 ms; shorter pauses belong to it."""

# Where the samples of each frame are in a window; the mirrored ones are read a second time.
_FRAMES = sliding_window_view(np.pad(np.arange(CONTEXT + CHUNK), (0, CONTEXT), mode="reflect"), FRAME)[::HOP]


# --- the network ------------------------------------------------------------------------------------------


class VoiceNetwork:
    """The weights and what is computed without a state; any number of detectors and threads can share one.

    Parameters
    ----------
    path : path
        A safetensors file with the names of the bundled one.
    """

    def __init__(self, path: str | os.PathLike[str] = WEIGHTS) -> None:
        self.lstm = nl.LSTM.load(path, prefix="lstm.")
        # float64 around the LSTM: in digital silence the convolutions add large numbers that cancel, so that a float32
        # result depends in its last digits on the order in which a machine's BLAS adds.
        weights = {name: array.astype(np.float64) for name, array in load_file(path).items()}
        self._fourier = weights["stft.weight"][:, 0].T
        self._encoder = []
        for layer, stride in enumerate(STRIDES):
            kernel, bias = weights[f"encoder.{layer}.weight"], weights[f"encoder.{layer}.bias"]
            # For one matrix product: torch's (out, in, 3) becomes (3 * in, out).
            self._encoder.append((kernel.transpose(2, 1, 0).reshape(-1, bias.size), bias, stride))
        self._decoder = weights["decoder.weight"][0, :, 0]
        self._decoder_bias = weights["decoder.bias"][0]

    def features(self, window: np.ndarray) -> np.ndarray:
        """Return the LSTM's input (1, 128) for a window of CONTEXT + CHUNK samples: spectrum and convolutions."""
        spectrum = window[_FRAMES] @ self._fourier
        spectrum *= spectrum
        bins = spectrum.shape[1] // 2  # real parts, then imaginary parts
        x = np.sqrt(spectrum[:, :bins] + spectrum[:, bins:])
        for kernel, bias, stride in self._encoder:
            steps, channels = x.shape
            padded = np.zeros((steps + 2, channels))
            padded[1:-1] = x
            x = np.concatenate([padded[k : k + steps : stride] for k in range(3)], axis=1) @ kernel
            x += bias
            np.maximum(x, 0, out=x)
        return x.astype(np.float32)

    def probability(self, hidden: np.ndarray) -> float:
        """Return the probability of speech for the LSTM's output (1, 128)."""
        logit = np.maximum(hidden[0], 0) @ self._decoder + self._decoder_bias
        return 0.5 + 0.5 * math.tanh(0.5 * logit)  # the sigmoid, in a form that cannot overflow


class Times(NamedTuple):
    """Seconds that the parts took for one chunk."""

    front_end: float
    lstm: float
    decoder: float


class VoiceDetector:
    """One audio stream: what the network remembers of it, and samples that wait for their chunk to be full.

    Use one for each microphone or caller.  One thread at a time may push into a detector.

    Parameters
    ----------
    network : VoiceNetwork, optional
        Shared with other detectors; by default a new one with the bundled weights.

    Attributes
    ----------
    hidden : (1, 128) float32 array
        The LSTM's output for the latest chunk.  The next chunk overwrites it.
    times : Times
        What the latest chunk took.

    Examples
    --------
    >>> detector = VoiceDetector()
    >>> detector.push(np.zeros(800, np.float32)).shape   # one chunk is full, 288 samples wait
    (1,)
    >>> detector.push(np.zeros(800, np.float32)).shape
    (2,)
    """

    def __init__(self, network: VoiceNetwork | None = None) -> None:
        self._network = VoiceNetwork() if network is None else network
        self._stream = self._network.lstm.stream(batch_size=1)
        self._window = np.zeros(CONTEXT + CHUNK, np.float32)
        self._filled = CONTEXT
        self.hidden = np.zeros((1, self._network.lstm.hidden_size), np.float32)
        self.times = Times(0.0, 0.0, 0.0)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take samples as they arrive and return the probability of speech in each chunk that they complete.

        Parameters
        ----------
        samples : (n,) float array
            Between -1 and 1, at 16 kHz.  Any number; how they are divided over calls changes nothing.

        Returns
        -------
        (chunks,) float32 array
            Often of one element, and of none while the chunk is not full.

        Raises
        ------
        ValueError
            If samples are integers, or have more than one channel.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1:
            raise ValueError(f"samples should have one axis, got shape {samples.shape}")
        if samples.dtype.kind != "f":
            raise ValueError(f"samples should be floats between -1 and 1, got {samples.dtype}")
        probabilities = []
        while samples.size:
            taken = samples[: self._window.size - self._filled]
            self._window[self._filled : self._filled + taken.size] = taken
            self._filled += taken.size
            samples = samples[taken.size :]
            if self._filled == self._window.size:
                probabilities.append(self._advance())
        return np.array(probabilities, np.float32)

    def _advance(self) -> float:
        """Run the network on a full window."""
        start = perf_counter()
        features = self._network.features(self._window)
        front_end = perf_counter()
        self._stream.step(features, out=self.hidden)
        lstm = perf_counter()
        probability = self._network.probability(self.hidden)
        self.times = Times(front_end - start, lstm - front_end, perf_counter() - lstm)
        self._window[:CONTEXT] = self._window[-CONTEXT:]
        self._filled = CONTEXT
        return probability

    def reset(self) -> None:
        """Forget the audio so far: what comes next is another recording."""
        self._stream.reset()
        self._window[:CONTEXT] = 0
        self._filled = CONTEXT


def speech_segments(probabilities: np.ndarray) -> list[tuple[float, float]]:
    """Return where speech begins and ends, in seconds, from the probabilities of consecutive chunks.

    Examples
    --------
    >>> speech_segments(np.array([0.1, 0.9, 0.4, 0.2, 0.9, 0.1, 0.1]))   # chunks 1 to 4
    [(0.032, 0.16)]
    """
    segments: list[tuple[int, int]] = []  # first chunk, and the one after the last
    speaking = False
    for index, probability in enumerate(probabilities):
        if speaking and probability >= SPEECH_WHILE:
            segments[-1] = segments[-1][0], index + 1
        elif not speaking and probability >= SPEECH_FROM:
            segments.append((index, index + 1))
            speaking = True
        elif speaking and index - segments[-1][1] + 1 >= PAUSE:
            speaking = False
    seconds = CHUNK / SAMPLE_RATE
    return [(first * seconds, end * seconds) for first, end in segments]


# --- the command line -------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What `listen` found in each chunk."""

    probabilities: np.ndarray
    """(chunks,)"""

    hidden: np.ndarray
    """(chunks, 1, 128), the LSTM's output."""

    times: np.ndarray
    """(chunks, 3), the columns of `Times`."""


def read_wav(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the samples of a file, float32 between -1 and 1.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is not PCM of 16 bits, one channel and 16 kHz, or has no samples; the message begins with the path.
    """
    try:
        with wave.open(os.fspath(path), "rb") as file:
            channels, width, rate, *_ = file.getparams()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: not a PCM wav file: {error or 'it ends too early'}") from None
    if (channels, width, rate) != (1, 2, SAMPLE_RATE):
        raise ValueError(
            f"{path}: should have 1 channel, 16 bits and {SAMPLE_RATE} Hz, "
            f"has {channels} channel(s), {8 * width} bits and {rate} Hz"
        )
    samples = np.frombuffer(data, "<i2", count=len(data) // 2)  # a file cut short may end within a sample
    if not samples.size:
        raise ValueError(f"{path}: no samples")
    return samples.astype(np.float32) / 32768


def listen(samples: np.ndarray, network: VoiceNetwork) -> Result:
    """Push a recording chunk by chunk; silence fills the last one."""
    detector = VoiceDetector(network)
    chunks = np.pad(samples, (0, -samples.size % CHUNK)).reshape(-1, CHUNK)
    probabilities, hidden, times = [], [], []
    for chunk in chunks:
        probabilities.append(detector.push(chunk))
        hidden.append(detector.hidden.copy())
        times.append(detector.times)
    return Result(np.concatenate(probabilities), np.stack(hidden), np.array(times))


def draw(samples: np.ndarray, probabilities: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Draw the waveform and, below it, the probability of speech; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    wave_axes, speech_axes = figure.subplots(2, sharex=True)
    wave_axes.plot(np.arange(samples.size) / SAMPLE_RATE, samples, linewidth=0.4, color="0.3")
    wave_axes.set(ylabel="waveform", xlim=(0, samples.size / SAMPLE_RATE))
    edges = np.arange(probabilities.size + 1) * CHUNK / SAMPLE_RATE
    speech_axes.stairs(probabilities, edges, color="tab:blue")
    speech_axes.axhline(SPEECH_FROM, linewidth=0.8, linestyle=":", color="0.4")
    speech_axes.set(xlabel="seconds", ylabel="probability of speech", ylim=(0, 1.02))
    for start, end in speech_segments(probabilities):
        for axes in (wave_axes, speech_axes):
            axes.axvspan(start, end, color="tab:blue", alpha=0.12, linewidth=0)
    figure.savefig(path, dpi=120)


def report(samples: np.ndarray, result: Result) -> str:
    """Return the lines about segments and times."""
    lines = [f"{samples.size / SAMPLE_RATE:.2f} s of audio, {len(result.probabilities)} chunks of 32 ms"]
    segments = speech_segments(result.probabilities)
    lines += [f"speech from {start:.2f} s to {end:.2f} s" for start, end in segments] or ["no speech"]
    front_end, lstm, decoder = np.median(result.times, axis=0) * 1e6
    parts = f"front end {front_end:.1f}, LSTM step {lstm:.1f}, decoder {decoder:.1f}"
    lines.append(f"median microseconds per chunk: {parts}")
    return "\n".join(lines)


def largest_differences(result: Result) -> tuple[float, float]:
    """Return how far the bundled recording's probabilities and LSTM outputs are from the published network's."""
    with np.load(EXPECTED, allow_pickle=False) as expected:
        return (
            float(np.abs(result.probabilities - expected["speech_prob"]).max()),
            float(np.abs(result.hidden - expected["lstm_output"]).max()),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Find speech in a recording with Silero VAD, chunk by chunk.")
    parser.add_argument("audio", nargs="?", type=Path, default=SPEECH, help="wav, mono, 16 bits, 16 kHz")
    parser.add_argument("--plot", type=Path, metavar="OUT.png", help="draw the waveform and the probability")
    options = parser.parse_args(arguments)
    try:
        samples = read_wav(options.audio)
        nl.warmup()  # compiling belongs before the first sample: later it would hold up the stream for seconds
        result = listen(samples, VoiceNetwork())
        print(report(samples, result))
        if options.audio.resolve() == SPEECH.resolve():
            probability, hidden = largest_differences(result)
            print(f"largest difference from ONNX Runtime: probability {probability:.1e}, LSTM output {hidden:.1e}")
        if options.plot is not None:
            draw(samples, result.probabilities, options.plot)
            print(f"wrote {options.plot}")
    except (OSError, ValueError, ImportError) as error:
        print(f"silero_vad.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
