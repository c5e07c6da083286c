"""The example of a stream: Silero VAD against the published network's numbers, its pieces, its command line."""

from __future__ import annotations

import doctest
import importlib.util
import re
import runpy
import subprocess
import sys
import threading
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.places import ROOT

FOLDER = ROOT / "docs" / "examples" / "silero_vad"
TOLERANCE = 1e-5


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("silero_vad_example", FOLDER / "silero_vad.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


silero = load()


@pytest.fixture(scope="module")
def network() -> Any:
    return silero.VoiceNetwork()


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """The bundled recording, with silence until its last chunk is full."""
    recording = silero.read_wav(silero.SPEECH)
    return np.pad(recording, (0, -recording.size % silero.CHUNK))


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(silero.EXPECTED, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def probabilities(network: Any, samples: np.ndarray) -> np.ndarray:
    found: np.ndarray = silero.VoiceDetector(network).push(samples)
    return found


def write_wav(path: Path, data: bytes = bytes(4000), channels: int = 1, width: int = 2, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


# --- numbers ----------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_published_network(
    network: Any, samples: np.ndarray, expected: dict[str, np.ndarray]
) -> None:
    result = silero.listen(silero.read_wav(silero.SPEECH), network)
    assert result.probabilities.dtype == result.hidden.dtype == np.float32
    np.testing.assert_allclose(result.probabilities, expected["speech_prob"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result.hidden, expected["lstm_output"], rtol=0, atol=TOLERANCE)
    assert silero.largest_differences(result) == (
        np.abs(result.probabilities - expected["speech_prob"]).max(),
        np.abs(result.hidden - expected["lstm_output"]).max(),
    )
    assert result.times.shape == (188, 3)


def test_features_are_those_of_the_published_network(
    network: Any, samples: np.ndarray, expected: dict[str, np.ndarray]
) -> None:
    windows = np.pad(samples, (silero.CONTEXT, 0))
    for index in (0, 40, 100, 187):
        window = windows[index * silero.CHUNK :][: silero.CONTEXT + silero.CHUNK]
        features = network.features(window)
        assert features.shape == (1, 128)
        # Wider than TOLERANCE: the published ones are float32, and off by this much in digital silence.
        np.testing.assert_allclose(features, expected["lstm_input"][index], rtol=0, atol=3e-5)


def test_a_stream_is_one_call_of_the_lstm(network: Any, samples: np.ndarray) -> None:
    windows = np.pad(samples, (silero.CONTEXT, 0))
    features = [
        network.features(windows[start : start + silero.CONTEXT + silero.CHUNK])
        for start in range(0, samples.size, silero.CHUNK)
    ]
    whole, _ = network.lstm(np.stack(features))
    np.testing.assert_array_equal(silero.listen(samples, network).hidden, whole)


# --- the detector -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [1, 160, 511, 512, 513, 5000])
def test_amounts_do_not_matter(network: Any, samples: np.ndarray, probabilities: np.ndarray, amount: int) -> None:
    samples = samples[: 60 * silero.CHUNK]
    detector = silero.VoiceDetector(network)
    parts = [detector.push(samples[start : start + amount]) for start in range(0, samples.size, amount)]
    np.testing.assert_array_equal(np.concatenate(parts), probabilities[:60])


def test_random_amounts_and_other_memory(network: Any, samples: np.ndarray, probabilities: np.ndarray) -> None:
    cuts = np.sort(np.random.default_rng(0).integers(0, samples.size, 300))  # some are equal: nothing in between
    detector = silero.VoiceDetector(network)
    spread = np.repeat(samples.astype(np.float64), 2)[::2]
    parts = [detector.push(part) for part in np.split(spread, cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), probabilities)


def test_a_chunk_gives_its_probability_when_it_is_full(network: Any) -> None:
    detector = silero.VoiceDetector(network)
    sizes = [detector.push(np.zeros(amount, np.float32)).size for amount in (0, 511, 1, 512, 1023, 1, 1536)]
    assert sizes == [0, 0, 1, 1, 1, 1, 3]


def test_reset_forgets(network: Any, samples: np.ndarray, probabilities: np.ndarray) -> None:
    detector = silero.VoiceDetector(network)
    middle = samples[80 * silero.CHUNK :][: 20 * silero.CHUNK + 100]
    assert not np.array_equal(detector.push(middle), probabilities[:20])
    detector.reset()
    np.testing.assert_array_equal(detector.push(samples[: 20 * silero.CHUNK]), probabilities[:20])


def test_detectors_share_a_network_and_nothing_else(
    network: Any, samples: np.ndarray, probabilities: np.ndarray
) -> None:
    early, late = silero.VoiceDetector(network), silero.VoiceDetector(network)
    chunks = samples.reshape(-1, silero.CHUNK)
    late_by = 30
    found: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for index, chunk in enumerate(chunks):
        found[0].append(early.push(chunk))
        if index >= late_by:
            found[1].append(late.push(chunks[index - late_by]))
    np.testing.assert_array_equal(np.concatenate(found[0]), probabilities)
    np.testing.assert_array_equal(np.concatenate(found[1]), probabilities[:-late_by])


def test_detectors_in_threads(network: Any, samples: np.ndarray, probabilities: np.ndarray) -> None:
    found: dict[int, np.ndarray] = {}

    def listen(index: int) -> None:
        found[index] = silero.listen(samples, network).probabilities

    threads = [threading.Thread(target=listen, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(3):
        np.testing.assert_array_equal(found[index], probabilities)


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.zeros((512, 1), np.float32), r"one axis, got shape \(512, 1\)"),
        (np.zeros(512, np.int16), "floats between -1 and 1, got int16"),
    ],
    ids=("channels", "integers"),
)
def test_what_cannot_be_pushed(network: Any, samples: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        silero.VoiceDetector(network).push(samples)


def test_probability_has_no_overflow(network: Any) -> None:
    for value in (0.0, 1e4):
        assert 0 <= network.probability(np.full((1, 128), value, np.float32)) <= 1


# --- segments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probabilities", "chunks"),
    [
        ([], []),
        ([0.4, 0.49, 0.1], []),
        ([0.5], [(0, 1)]),
        ([0.1, 0.6, 0.4, 0.36, 0.3], [(1, 4)]),  # lasts while it is not below 0.35
        ([0.9, 0.1, 0.1, 0.1, 0.9, 0.1], [(0, 5)]),  # three chunks are a pause within
        ([0.9, 0.1, 0.1, 0.1, 0.1, 0.4, 0.9], [(0, 1), (6, 7)]),  # four are an end, and 0.4 is no beginning
        ([0.9, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1], [(0, 3)]),
    ],
)
def test_segments(probabilities: list[float], chunks: list[tuple[int, int]]) -> None:
    seconds = silero.CHUNK / silero.SAMPLE_RATE
    assert silero.speech_segments(np.array(probabilities)) == [(a * seconds, b * seconds) for a, b in chunks]


def test_speech_is_found_where_it_is(probabilities: np.ndarray) -> None:
    """The sentence lies between a second of silence and another."""
    (segment,) = silero.speech_segments(probabilities)
    assert 1 < segment[0] < segment[1] < 5


# --- the command line -------------------------------------------------------------------------------------


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert silero.main([]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "6.00 s of audio, 188 chunks of 32 ms"
    assert lines[1] == "speech from 1.41 s to 4.54 s"
    assert lines[2].startswith("median microseconds per chunk: front end ")
    assert lines[3].startswith("largest difference from ONNX Runtime: probability ")
    assert len(lines) == 4


def test_another_recording_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert silero.main([str(write_wav(tmp_path / "silence.wav"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["0.12 s of audio, 4 chunks of 32 ms", "no speech"]
    assert len(lines) == 3


def test_the_script_by_itself(tmp_path: Path) -> None:
    """Run as a user does, from another folder: bad input is one line and an exit status."""
    command = [sys.executable, "-W", "error", str(FOLDER / "silero_vad.py"), "missing.wav"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "silero_vad.py: [Errno 2] No such file or directory: 'missing.wav'\n"


def complaint_about(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert silero.main([str(path), *more]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    return error


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"rate": 8000}, "1 channel(s), 16 bits and 8000 Hz"),
        ({"channels": 2}, "2 channel(s), 16 bits and 16000 Hz"),
        ({"width": 1}, "1 channel(s), 8 bits and 16000 Hz"),
        ({"width": 4, "rate": 44_100}, "1 channel(s), 32 bits and 44100 Hz"),
    ],
    ids=("rate", "stereo", "8-bit", "32-bit"),
)
def test_other_wav_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, int], found: str
) -> None:
    path = write_wav(tmp_path / "a.wav", **options)  # type: ignore[arg-type]
    wanted = "should have 1 channel, 16 bits and 16000 Hz"
    assert complaint_about(path, capsys) == f"silero_vad.py: {path}: {wanted}, has {found}\n"


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3 not a wav file at all", bytes(100)])
def test_what_is_no_wav_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert f"{path}: not a PCM wav file: " in complaint_about(path, capsys)


def test_compressed_or_float_wav(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_wav(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[20:22] = (3).to_bytes(2, "little")  # the format: IEEE float
    path.write_bytes(content)
    assert complaint_about(path, capsys) == f"silero_vad.py: {path}: not a PCM wav file: unknown format: 3\n"


def test_empty_wav(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_wav(tmp_path / "a.wav", b"")
    assert complaint_about(path, capsys) == f"silero_vad.py: {path}: no samples\n"


def test_a_wav_cut_short_within_a_sample(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.arange(100, dtype="<i2").tobytes())
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(silero.read_wav(path), np.arange(99, dtype=np.float32) / 32768)


def test_a_folder_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(tmp_path) in complaint_about(tmp_path, capsys)


def test_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "speech.png"
    assert silero.main(["--plot", str(path)]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {path}\n")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert "missing" in complaint_about(silero.SPEECH, capsys, "--plot", str(tmp_path / "missing" / "a.png"))
    assert "'abc' is not supported" in complaint_about(silero.SPEECH, capsys, "--plot", str(tmp_path / "a.abc"))


def test_plot_without_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "matplotlib" in complaint_about(silero.SPEECH, capsys, "--plot", str(tmp_path / "a.png"))


# --- the page ---------------------------------------------------------------------------------------------


def test_docstring_examples() -> None:
    failed, tried = doctest.testmod(silero)
    assert tried
    assert failed == 0


def test_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (FOLDER / "silero_vad.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    script = tmp_path / "block.py"
    script.write_text(block, encoding="utf-8")
    monkeypatch.setitem(sys.modules, "silero_vad", silero)
    names = runpy.run_path(str(script))
    assert names["probabilities"].shape == (31,)  # whole chunks in the second of silence that the page pushes
