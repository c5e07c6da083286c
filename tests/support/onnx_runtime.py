"""ONNX Runtime, which says what a model computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

runtime = pytest.importorskip("onnxruntime")


def theirs(made: Any, feeds: Mapping[str, np.ndarray], outputs: list[str] | None = None) -> list[np.ndarray]:
    """Run a model with ONNX Runtime."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # it says on stderr what tests expect it to refuse
    session = runtime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(outputs, dict(feeds)))
