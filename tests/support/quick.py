"""What ``pytest -m quick`` runs: of every part something, within two minutes on one core from nothing compiled."""

from __future__ import annotations

from types import MappingProxyType

EVERYTHING = frozenset({""})
"""All tests of a module: each begins with it."""

QUICK = MappingProxyType(
    {
        # numbers
        "test_values": {"test_every_combination_of_options", "test_magnitudes", "test_golden", "test_every_batch"},
        "test_activations": EVERYTHING,
        "test_cell_rule": {"test_equals_float64", "test_a_"},
        "test_bits": {"test_one_thread", "test_python_threads", "test_random_cuts", "test_no_states", "test_reverse"},
        "test_residency": EVERYTHING,
        "test_crews": EVERYTHING,
        "test_variable_length": EVERYTHING,
        # front ends
        "test_lstm_contract": EVERYTHING,
        "test_lstm_cell": EVERYTHING,
        "test_errors": EVERYTHING,
        "test_parameters": EVERYTHING,
        "test_packed_sequence": EVERYTHING,
        "test_stream": {"test_steps_equal", "test_pool_equals", "test_state", "test_reset"},
        "test_stream_errors": {"test_step_errors"},
        "test_sliding_window": EVERYTHING,
        # files
        "test_io": EVERYTHING,
        "test_io_torch_archive": EVERYTHING,
        "test_io_onnx": EVERYTHING,
        "test_io_keras": EVERYTHING,
        "test_cli_formats": EVERYTHING,
        "test_models": EVERYTHING,
        "test_accelerate": EVERYTHING,
        "test_demo": EVERYTHING,
        # the package
        "test_layering": EVERYTHING,
        "test_docs": EVERYTHING,
        "test_public_names": EVERYTHING,
        "test_old_pickles": {"test_what_was_pickled", "test_new_pickles"},
        "test_code_stamp": {"test_the_stamp", "test_an_edit", "test_code_that_cannot_be_known"},
        "test_quick": EVERYTHING,
    }
)
"""By module, how names of tests begin."""


def is_quick(module: str, test: str) -> bool:
    """Whether a test of a module is one of them."""
    return any(test.startswith(beginning) for beginning in QUICK.get(module, ()))
