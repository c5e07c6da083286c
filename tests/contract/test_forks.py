"""A fork while another thread draws random numbers, for masks of dropout or for parameters."""

from __future__ import annotations

from pathlib import Path

from support.processes import posix, run

FORK_WHILE_DRAWING = """
import os, signal, sys, threading, time
import numpy as np
from numba_lstm import LSTM, LSTMCell

class Slow(np.random.Generator):
    # NumPy's own has a lock while it draws, too, of which nobody can say when it is taken.
    held, begins = threading.RLock(), None

    def random(self, *arguments):
        with self.held:
            begins, Slow.begins = self.begins, None
            if begins:
                begins.set()
                time.sleep(0.3)
            return super().random(*arguments)

slow = Slow(np.random.Philox(0))
lstm, cell = LSTM(3, 5, 2, dropout=0.5, seed=slow), LSTMCell(3, 5, seed=slow)
lstm.save(sys.argv[1])
x = np.zeros((4, 2, 3), np.float32)
ways = {
    "call": lambda: lstm(x),
    "lengths": lambda: lstm(x, lengths=[4, 2]),
    "vjp": lambda: lstm.vjp(x),
    "reset": lstm.reset_parameters,
    "cell": cell.reset_parameters,
    "new": lambda: LSTM(3, 5, seed=slow),
    "load": lambda: LSTM.load(sys.argv[1], seed=slow),
}
for name, way in ways.items():
    way()  # compiles
    begins = Slow.begins = threading.Event()
    drawing = threading.Thread(target=way, daemon=True)
    drawing.start()
    assert begins.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        way()
        os._exit(0)
    way()
    drawing.join()
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"the child of {name} ended with {status}")
"""


@posix
def test_a_fork_while_another_thread_draws(tmp_path: Path) -> None:
    """The generator's lock is taken then, and in the child it would stay so."""
    run(FORK_WHILE_DRAWING, str(tmp_path / "weights.safetensors"))
