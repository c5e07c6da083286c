"""The same calls by other engines, where they are installed; one thread."""

from __future__ import annotations

from typing import ClassVar

from .. import engines, shapes


class _Peer:
    """One call of an engine; skipped if it is not installed or cannot run the shape."""

    engine: ClassVar[str]
    params: ClassVar = list(shapes.PUBLIC)
    param_names = ("shape",)

    def setup(self, name: str) -> None:
        """Make a network and an input, and call once."""
        try:
            runner = engines.make(self.engine, shapes.select([name])[name], 1)
        except (ModuleNotFoundError, engines.Unsupported) as error:
            raise NotImplementedError(str(error)) from error
        self.call = runner.call
        self.call()

    def time_call(self, name: str) -> None:
        """Time one call."""
        self.call()


class Torch(_Peer):
    """torch.nn.LSTM in inference mode."""

    engine = "torch"


class TorchWithoutOneDNN(_Peer):
    """The same with torch's own kernels."""

    engine = "torch without oneDNN"


class OnnxRuntime(_Peer):
    """ONNX Runtime on the CPU; its graph is made with the package onnx."""

    engine = "onnxruntime"


class OpenVINO(_Peer):
    """OpenVINO on the CPU, held to float32."""

    engine = "openvino"
