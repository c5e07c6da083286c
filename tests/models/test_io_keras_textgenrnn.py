"""A network of 2018, trained with CuDNNLSTM layers: textgenrnn 2.0.0 (MIT), from the package index; skipped offline.

It continues English text character by character.  With gates, transposes or biases in another order it could not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from numba_lstm.formats import hdf5
from numba_lstm.io import keras

TEXT = "What is the best way to learn how to play the piano?"
CONTEXT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("textgenrnn")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:", "textgenrnn==2.0.0"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index does not answer")
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        pytest.skip("textgenrnn cannot be downloaded")
    with tarfile.open(archives[0]) as archive:
        for name in ("textgenrnn_weights.hdf5", "textgenrnn_vocab.json"):
            member = archive.extractfile(f"textgenrnn-2.0.0/textgenrnn/{name}")
            assert member is not None
            (folder / name).write_bytes(member.read())
    return folder


def test_it_continues_english(folder: Path) -> None:
    path = folder / "textgenrnn_weights.hdf5"
    assert [one.name for one in keras.describe(path)] == ["rnn_1", "rnn_2"]
    layers = keras.load(path, config={name: {"return_sequences": True} for name in ("rnn_1", "rnn_2")})
    root = hdf5.File(path.read_bytes()).root

    def array(name: str) -> np.ndarray:
        node = root.find(name)
        assert node is not None
        return node.array()

    codes = json.loads((folder / "textgenrnn_vocab.json").read_text())
    text = [codes[character] for character in TEXT]
    before = np.zeros((len(text) - 1, CONTEXT), int)  # what stands before each character
    for end in range(1, len(text)):
        context = text[max(0, end - CONTEXT) : end]
        before[end - 1, CONTEXT - len(context) :] = context
    embedded = array("embedding/embedding/embeddings:0")[before]
    one = layers["rnn_1"](embedded)
    joined = np.concatenate([embedded, one, layers["rnn_2"](one)], axis=-1)
    attention = np.exp(joined @ array("attention/attention/attention_W:0"))
    attended = (joined * attention / attention.sum(axis=1, keepdims=True)).sum(axis=1)
    logits = attended @ array("output/output/kernel:0") + array("output/output/bias:0")
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nats = -logits[np.arange(len(text) - 1), text[1:]].mean()
    assert 0.8 < nats < 0.95  # a character; by chance among 465 it is 6.1
    plain = keras.load_lstm(path, "rnn_1", config={"rnn_1": {}})
    np.testing.assert_array_equal(plain(embedded[:3])[0], one[:3])
