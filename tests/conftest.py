"""What all tests share: the Hypothesis profile, a private compile cache, the shared data, thread counts."""

from __future__ import annotations

import itertools
import operator
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.places import SHARED
from support.quick import is_quick
from tqdm import tqdm

tqdm.monitor_interval = 0  # its thread would allocate now and then, in tests that measure what is allocated

# Kernels of this run must not come from, or go to, a cache that other versions of the package use.  This has
# to be in place before numba is imported, so it stands here and not in a fixture.
_private_cache = None
if "NUMBA_CACHE_DIR" not in os.environ:
    _private_cache = tempfile.mkdtemp(prefix="numba_lstm-tests-")
    os.environ["NUMBA_CACHE_DIR"] = _private_cache

# Two threads even where there is one CPU: what they compute does not depend on it.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))

# The oracle's products are small, and threads of OpenBLAS wait busily for each other: where something else has their
# core, a product takes three times as long on two of them as on one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Derandomized: a run can be repeated.  NUMBA_LSTM_TESTS=full tries more examples.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=60, database=None)
settings.register_profile(
    "full",
    derandomize=True,
    deadline=None,
    max_examples=1500,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("NUMBA_LSTM_TESTS", "default"))


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say before it begins how long it takes, unless somebody has chosen what to run."""
    if config.option.markexpr == "quick":
        return None
    return "all tests: about 16 minutes of one core; some of everything, in two: pytest -m quick"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have a second run, where more is installed, do just what the first had to leave out."""
    parser.addoption("--note-skipped", type=Path, metavar="FILE", help="write which tests are skipped")
    parser.addoption("--only-noted", type=Path, metavar="FILE", help="run none but those that were skipped then")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the list."""
    if config.option.note_skipped:
        config.pluginmanager.register(_Skipped(config.option.note_skipped))


class _Skipped:
    """Writes the names of tests that are skipped, or of whole files of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text("", encoding="utf-8")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")

    pytest_runtest_logreport = pytest_collectreport = _note


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not on the list."""
    if config.option.only_noted:
        noted = set(config.option.only_noted.read_text(encoding="utf-8").splitlines())
        chosen = [not noted.isdisjoint((item.nodeid, item.nodeid.partition("::")[0])) for item in items]
        config.hook.pytest_deselected(items=list(itertools.compress(items, map(operator.not_, chosen))))
        items[:] = itertools.compress(items, chosen)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the quick tests."""
    if is_quick(item.path.stem, item.name):
        item.add_marker(pytest.mark.quick)


def pytest_unconfigure() -> None:
    """Remove the cache that this run made."""
    if _private_cache is not None:
        shutil.rmtree(_private_cache, ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data beside the project; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared")
    return SHARED


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads after a test that sets it."""
    import numba_lstm

    before = numba_lstm.get_num_threads()
    yield
    numba_lstm.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def cpus_enough() -> Iterator[None]:
    """Have calls use the threads that a test asks for, whatever CPUs there are."""
    from numba_lstm.execution.planning.machine import ASSUMED

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ASSUMED, "cpus", 1 << 10)
        yield


@pytest.fixture
def rested_team(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches leave no thread out, whatever other processes did during the tests before."""
    from numba_lstm.execution.launch_lock import Team

    for name, value in (("fewer", 0), ("pause", 0.0), ("resumes", 0.0)):
        monkeypatch.setattr(Team, name, value)
