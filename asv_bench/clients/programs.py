"""Programs of published packages: each the way from inputs to results that its package offers, as it is there.

Weights are those of the package's wheel or random ones, from the seed that there is when a program is made; sizes are
those that the package has by default or those of its published models.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .measure import Maker, Program


class Entry(NamedTuple):
    """A program and what to say of it."""

    make: Maker
    package: str
    """By the name that it is installed by."""
    licence: str
    does: str


PROGRAMS: dict[str, Entry] = {}


def program(package: str, licence: str, does: str) -> Callable[[Maker], Maker]:
    """Enter a function that makes a program, by its own name."""

    def enter(make: Maker) -> Maker:
        PROGRAMS[make.__name__] = Entry(make, package, licence, does)
        return make

    return enter


def prepare() -> None:
    """Make torchvision and torchaudio importable where their compiled parts cannot be loaded.

    PyPI has them for GPUs only: they need libraries that torch for CPUs does not have.  No program here calls them.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        forget("torchvision")
        # What it registers more for, while it is imported.
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        import torchvision  # noqa: F401
    try:
        import torchaudio
    except OSError:
        forget("torchaudio")
        extension = types.ModuleType("torchaudio._extension")
        names = {"_IS_TORCHAUDIO_EXT_AVAILABLE": False, "_IS_ALIGN_AVAILABLE": False}
        extension.__dict__.update(names, fail_if_no_align=lambda function: function)
        sys.modules["torchaudio._extension"] = extension
        import torchaudio  # noqa: F401


def forget(package: str) -> None:
    """Take what is there of a package out of the imported modules, after an import that failed."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


WORDS = (
    "the court of appeal said on monday that the decision of the agency in brussels was made by two members of the "
    "council who had met the minister in march and that neither of them had told anybody about it before summer"
)


# --- language ---------------------------------------------------------------------------------------------------


def language_model(forward: bool = True) -> Any:
    """Return a character language model of flair, of the size of its fast ones."""
    from flair.data import Dictionary
    from flair.models import LanguageModel

    characters = Dictionary(add_unk=True)
    for character in "\n !,.:?" + "".join(map(chr, range(ord("a"), ord("z") + 1))):
        characters.add_item(character)
    return LanguageModel(characters, forward, hidden_size=1024, nlayers=1).eval()


@program("flair", "MIT", "tagger: 8 sentences by character language models, LSTM and CRF (`SequenceTagger.predict`)")
def flair_tagger() -> Program:
    from flair.data import Dictionary, Sentence
    from flair.embeddings import FlairEmbeddings, StackedEmbeddings
    from flair.models import SequenceTagger

    tags = Dictionary(add_unk=False)
    for tag in ("NOUN", "VERB", "ADJ", "DET", "ADP", "PRON", "ADV"):
        tags.add_item(tag)
    embeddings = StackedEmbeddings([FlairEmbeddings(language_model(True)), FlairEmbeddings(language_model(False))])
    tagger = SequenceTagger(embeddings, tags, tag_type="pos", hidden_size=256, use_crf=True).eval()
    words = WORDS.split()
    texts = [" ".join(words[start : start + length]) for start, length in zip(range(8), range(5, 29, 3), strict=True)]

    def run() -> Any:
        sentences = [Sentence(text) for text in texts]
        tagger.predict(sentences, mini_batch_size=8)
        tokens = [token for sentence in sentences for token in sentence]
        return [token.get_label("pos").value for token in tokens], [token.get_label("pos").score for token in tokens]

    return Program(tagger, run)


@program("flair", "MIT", "character language model: 100 characters (`LanguageModel.generate_text`)")
def flair_language_model() -> Program:
    model = language_model()
    return Program(model, lambda: model.generate_text("the council ", number_of_characters=100))


# --- pictures ---------------------------------------------------------------------------------------------------


@program("easyocr", "Apache-2.0", "recogniser: 4 lines of text (`get_text`)")
def easyocr() -> Program:
    import torch
    from easyocr.config import recognition_models
    from easyocr.model.vgg_model import Model
    from easyocr.recognition import get_recognizer, get_text

    characters = recognition_models["gen2"]["english_g2"]["characters"]
    sizes = {"input_channel": 1, "output_channel": 256, "hidden_size": 256}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        weights = Model(num_class=len(characters) + 1, **sizes).state_dict()
        torch.save({f"module.{name}": value for name, value in weights.items()}, path)
        recognizer, converter = get_recognizer("generation2", sizes, characters, {}, {}, str(path), quantize=False)
    rng = np.random.default_rng(0)
    images = [([[0, 0], [1, 0], [1, 1], [0, 1]], rng.integers(0, 256, (64, 320), dtype=np.uint8)) for _ in range(4)]

    def run() -> Any:
        found = get_text(characters, 64, 320, recognizer, converter, images, workers=0, contrast_ths=0.0)
        return [text for _, text, _ in found], [confidence for *_, confidence in found]

    return Program(recognizer, run)


@program("python-doctr", "Apache-2.0", "CRNN: 4 lines of text (`recognition_predictor`)")
def doctr() -> Program:
    from doctr.models import crnn_vgg16_bn, recognition_predictor

    model = crnn_vgg16_bn(pretrained=False, pretrained_backbone=False).eval()
    predictor = recognition_predictor(model, pretrained=False, batch_size=4)
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (32, 128, 3), dtype=np.uint8) for _ in range(4)]
    return Program(model, lambda: predictor(crops))


# --- sound ------------------------------------------------------------------------------------------------------


def voice(seconds: float) -> np.ndarray:
    """Return what a voice might be: harmonics that go up and down, at 16 kHz."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / 16_000
    wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
    return (wave / np.abs(wave).max() * 0.5).astype(np.float32)


@program("resemblyzer", "Apache-2.0", "speaker encoder, its own weights: 6 s (`VoiceEncoder.embed_utterance`)")
def resemblyzer() -> Program:
    from resemblyzer import VoiceEncoder

    encoder, wave = VoiceEncoder("cpu", verbose=False), voice(6)
    return Program(encoder, lambda: encoder.embed_utterance(wave))


@program("torchaudio", "BSD-2-Clause", "Tacotron 2: 30 letters to 60 frames (`Tacotron2.infer`)")
def tacotron() -> Program:
    import torch
    from torchaudio.models import Tacotron2

    model = Tacotron2(decoder_max_step=60, gate_threshold=1.1).eval()
    tokens = torch.randint(0, 148, (1, 30))

    def run() -> Any:
        with torch.inference_mode():
            return model.infer(tokens)

    return Program(model, run)


@program("speechbrain", "Apache-2.0", "RNN-T: greedy search over 10 frames (`TransducerBeamSearcher`)")
def speechbrain_transducer() -> Program:
    import torch
    from speechbrain.decoders.transducer import TransducerBeamSearcher
    from speechbrain.nnet.embedding import Embedding
    from speechbrain.nnet.linear import Linear
    from speechbrain.nnet.RNN import LSTM
    from speechbrain.nnet.transducer.transducer_joint import Transducer_joint

    outputs = 1000
    embedding = Embedding(num_embeddings=outputs, consider_as_one_hot=True, blank_id=0)
    predictor = LSTM(input_shape=[None, None, outputs - 1], hidden_size=512, num_layers=1)
    project = Linear(input_size=512, n_neurons=640)
    joint = Transducer_joint(joint="sum")
    classifier = Linear(input_size=640, n_neurons=outputs)
    search = TransducerBeamSearcher(
        decode_network_lst=[embedding, predictor, project], tjoint=joint, classifier_network=[classifier], blank_id=0,
        beam_size=1, nbest=1,
    )  # fmt: skip
    model = torch.nn.ModuleList([embedding, predictor, project, joint, classifier]).eval()
    frames = torch.randn(1, 10, 640)

    def run() -> Any:
        with torch.no_grad():
            best, scores, *_ = search(frames)
            return best[0], scores

    return Program(model, run)


@program("openunmix", "MIT", "separation: 2 s of stereo, two of its four networks (`Separator`)")
def openunmix() -> Program:
    import torch
    from openunmix.model import OpenUnmix, Separator

    networks = {name: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487) for name in ("a", "b")}
    separator = Separator(networks, niter=0, nb_channels=2, residual=False).eval()
    wave = torch.from_numpy(np.stack([voice(2), voice(2)[::-1]])[None])

    def run() -> Any:
        with torch.no_grad():
            return separator(wave)

    return Program(separator, run)


# --- series -----------------------------------------------------------------------------------------------------


def quiet_lightning() -> None:
    """Keep Lightning from telling about itself at every call."""
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)


@program("gluonts", "Apache-2.0", "DeepAR: 24 hours of 8 series, 100 samples (`predictor.predict`)")
def gluonts() -> Program:
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.deepar import DeepAREstimator

    estimator = DeepAREstimator("h", prediction_length=24)
    module = estimator.create_lightning_module()
    predictor = estimator.create_predictor(estimator.create_transformation(), module)
    rng = np.random.default_rng(0)
    series = [{"start": "2024-01-01", "target": rng.random(1000).cumsum()} for _ in range(8)]
    data = ListDataset(series, freq="h")
    return Program(predictor.prediction_net, lambda: [forecast.samples for forecast in predictor.predict(data)])


def forecasting_data() -> Any:
    """Return series for pytorch-forecasting."""
    import pandas as pd
    from pytorch_forecasting import TimeSeriesDataSet

    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame({"time": range(120), "group": str(group), "value": rng.random(120).cumsum() + 1})
        for group in range(8)
    ]
    return TimeSeriesDataSet(
        pd.concat(frames, ignore_index=True), time_idx="time", target="value", group_ids=["group"],
        max_encoder_length=60, max_prediction_length=20, min_encoder_length=60, predict_mode=True,
        time_varying_known_reals=["time"], time_varying_unknown_reals=["value"],
    )  # fmt: skip


def forecaster(kind: str, **options: Any) -> Program:
    """Return a model of pytorch-forecasting, which predicts by a trainer of Lightning."""
    quiet_lightning()
    import pytorch_forecasting

    data = forecasting_data()
    model = getattr(pytorch_forecasting, kind).from_dataset(data, **options).eval()
    loader = data.to_dataloader(train=False, batch_size=8, num_workers=0)
    trainer = {
        "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
        "enable_checkpointing": False,
    }  # fmt: skip
    return Program(model, lambda: model.predict(loader, mode="prediction", trainer_kwargs=trainer))


@program("pytorch-forecasting", "MIT", "TFT: 20 steps of 8 series after 60 (`TemporalFusionTransformer.predict`)")
def pytorch_forecasting_tft() -> Program:
    return forecaster("TemporalFusionTransformer", hidden_size=64, lstm_layers=2)


@program("pytorch-forecasting", "MIT", "DeepAR: 20 steps of 8 series after 60 (`DeepAR.predict`)")
def pytorch_forecasting_deepar() -> Program:
    return forecaster("DeepAR", hidden_size=40, rnn_layers=2)


# --- other ------------------------------------------------------------------------------------------------------


@program("fastai", "Apache-2.0", "AWD-LSTM: 30 words, one after the other (`AWD_LSTM`, as in `LMLearner.predict`)")
def fastai() -> Program:
    import torch
    from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_lm_config
    from fastai.text.models.core import get_language_model

    model = get_language_model(AWD_LSTM, 1000, awd_lstm_lm_config).eval()

    def run() -> Any:
        model.reset()
        words = torch.ones(1, 1, dtype=torch.long)
        with torch.no_grad():
            for _ in range(30):
                scores = model(words)[0][:, -1]
                words = scores.argmax(-1, keepdim=True)
        return scores

    return Program(model, run)


@program("sb3-contrib", "MIT", "reinforcement learning: 100 steps of CartPole (`RecurrentPPO.predict`)")
def recurrent_ppo() -> Program:
    import gymnasium
    from sb3_contrib import RecurrentPPO

    environment = gymnasium.make("CartPole-v1")
    agent = RecurrentPPO("MlpLstmPolicy", environment, seed=0, device="cpu")

    def run() -> Any:
        observation, _ = environment.reset(seed=0)
        states, start, seen = None, np.ones(1, bool), []
        for _ in range(100):
            action, states = agent.predict(observation, states, start, deterministic=True)
            observation, _, ended, cut, _ = environment.step(int(action))
            start[:] = ended or cut
            if start[0]:
                observation, _ = environment.reset(seed=0)
            seen.append(observation)
        return np.stack(seen), *states

    return Program(agent.policy, run)


@program("snntorch", "MIT", "spikes: 50 steps of two layers, 16 rows (`SLSTM`)")
def snntorch() -> Program:
    import torch
    from snntorch import SLSTM

    layers = torch.nn.ModuleList([SLSTM(64, 128), SLSTM(128, 10)]).eval()
    x = torch.randn(50, 16, 64)

    def run() -> Any:
        states = [layer.reset_mem() for layer in layers]
        with torch.no_grad():
            for step in x:
                for k, layer in enumerate(layers):
                    step, *states[k] = layer(step, *states[k])
        return states

    return Program(layers, run)


@program("metapredict", "MIT", "disorder of 16 proteins, its own weights (`predict_disorder`)")
def metapredict() -> Program:
    from metapredict import predict_disorder
    from metapredict.backend import predictor

    rng = np.random.default_rng(0)
    proteins = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length)) for length in range(60, 700, 40)]
    networks: dict[str, Any] = {}

    def run() -> Any:
        predictor.loaded_models = networks  # the package keeps one for all, and we have two
        return [scores for _, scores in predict_disorder(proteins, device="cpu", round_values=False)]

    run()
    (model,) = networks.values()
    return Program(model, run)


@program("neuralhydrology", "BSD-3-Clause", "runoff: a year before each of 32 days (`CudaLSTM`)")
def neuralhydrology() -> Program:
    import torch
    from neuralhydrology.modelzoo import get_model
    from neuralhydrology.utils.config import Config

    forcing = ["precipitation", "temperature", "radiation", "pressure", "wind"]
    attributes = [f"attribute_{k}" for k in range(27)]
    settings = {
        "model": "cudalstm", "head": "regression", "hidden_size": 256, "initial_forget_bias": 3, "output_dropout": 0.4,
        "dynamic_inputs": forcing, "static_attributes": attributes, "target_variables": ["runoff"], "seq_length": 365,
        "predict_last_n": 1, "use_frequencies": ["1D"], "dataset": "camels_us", "loss": "NSE",
    }  # fmt: skip
    model = get_model(Config(settings)).eval()
    inputs = {
        "x_d": {name: torch.randn(32, 365, 1) for name in forcing},
        "x_s": torch.randn(32, len(attributes)),
    }

    def run() -> Any:
        with torch.no_grad():
            return model(inputs)["y_hat"]

    return Program(model, run)


def graph() -> tuple[Any, Any]:
    """Return features of 500 nodes, and edges that each has eight of, by the nodes that they go to."""
    import torch

    to = torch.arange(500).repeat_interleave(8)
    return torch.randn(500, 64), torch.stack([torch.randint(0, 500, (4000,)), to])


@program("torch-geometric", "MIT", "graph: 500 nodes, layers joined by an LSTM (`GCN`, `jk='lstm'`)")
def geometric_jumping() -> Program:
    import torch
    from torch_geometric.nn import GCN

    model = GCN(64, 64, num_layers=3, out_channels=10, jk="lstm").eval()
    x, edges = graph()

    def run() -> Any:
        with torch.no_grad():
            return model(x, edges)

    return Program(model, run)


@program("torch-geometric", "MIT", "graph: 500 nodes, neighbours read by an LSTM (`SAGEConv`, `aggr='lstm'`)")
def geometric_aggregation() -> Program:
    import torch
    from torch_geometric.nn import GraphSAGE

    model = GraphSAGE(64, 64, num_layers=2, out_channels=10, aggr="lstm").eval()
    x, edges = graph()

    def run() -> Any:
        with torch.no_grad():
            return model(x, edges)

    return Program(model, run)
