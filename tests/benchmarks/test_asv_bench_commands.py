"""Commands print tables and write them on pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.benchmarks import page_with, run

from asv_bench import pictures, voice


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("sweep", ["--sizes", 3, 16, "--batches", 1, 2]),
        ("streams", ["--budget", 1e-4]),
        ("serving", ["--rounds", 2]),
        pytest.param("workers", ["--rounds", 1, "--copies", 1], marks=pytest.mark.slow),
        ("ways", ["--threads", 2]),
        ("accuracy", ["--shapes", "amp_block64"]),
        ("packing", ["--size", 20, "--rounds", 1]),
        ("trained", ["--rounds", 1, "--budget", 1e-4]),
        pytest.param("special", ["--shapes", "vad_step", "--budget", 1e-4], marks=pytest.mark.slow),
        pytest.param("startup", [], marks=pytest.mark.slow),
        pytest.param("proteins", ["--budget", 1e-4], marks=pytest.mark.slow),
    ],
)
def test_commands_print_and_write_tables(command: str, arguments: list[object], tmp_path: Path) -> None:
    page = page_with(tmp_path, command)
    printed = run(command, *arguments, "--page", page)
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(table) > 2
    assert "\n".join(table[:2]) in page.read_text(encoding="utf-8")


def test_what_the_voice_servers_load_test_prints_becomes_a_table() -> None:
    printed = """ours, 1 core(s)
  300 callers: median 4.6 ms, 99 % in 7.8 ms, sent 1.1 ms late

| engine | cores | callers | median ms | 99 % in ms |
| --- | ---: | ---: | ---: | ---: |
| ours | 1 | 600 | 7.7 | 13.8 |
| ours | 2 | 900 | 6.0 | 12.0 |
| torch | 1 | 120 | 3.3 | 7.1 |
| onnxruntime | 2 | 450 | 1.6 | 7.9 |
"""
    table = voice.table(list(voice.parsed(printed))).splitlines()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert lines[2:] == [
        ["1", "numba_lstm", "600", "7.7", "13.8", ""],
        ["1", "torch", "120", "3.3", "7.1", "5.00"],
        ["2", "numba_lstm", "900", "6.0", "12.0", ""],
        ["2", "onnxruntime", "450", "1.6", "7.9", "2.00"],
    ]
    assert voice.LOAD_TEST.is_file()


def test_sweep_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from asv_bench import sweep

    page = page_with(tmp_path, "sweep")
    arguments = ["--sizes", "8", "16", "--batches", "1", "--plot", str(tmp_path / "plot.png"), "--page", str(page)]
    sweep.main(arguments)
    for name in ("plot.png", "plot_dark.png"):
        assert (tmp_path / name).stat().st_size > 1000
        assert f"{{image}} {name}\n" in page.read_text(encoding="utf-8")


def test_sweep_draws_each_line_in_its_own_way() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    from asv_bench import sweep

    for colours in pictures.STYLES.values():
        with matplotlib.rc_context({"axes.prop_cycle": matplotlib.cycler(color=colours.drawn)}):
            ways = {tuple(sorted(way.items())) for way in sweep.more_lines()}
        assert len(ways) >= max(len(sweep.DRAWN_SIZES), len(sweep.DRAWN_BATCHES))


def test_suspicious_pairs_are_timed_together() -> None:
    from asv_bench.sweep import REPEATS, compare, largest

    times = {(10, 1): 3.0, (16, 1): 2.0, (10, 2): 1.0, (16, 2): 4.0, (5, 1): 2.0}
    timed: list[tuple[int, int]] = []

    def again(point: tuple[int, int]) -> float:  # (10, 1) met a slow moment; (5, 1) does take 1.5 times as long
        timed.append(point)
        return {(10, 1): 1.9, (16, 1): 2.0, (5, 1): 3.0}[point]

    pairs = [((10, 1), (16, 1)), ((10, 2), (16, 2)), ((5, 1), (10, 1))]
    ratios = compare(pairs[:2], times, again)
    assert largest(ratios, 1) == [(0.95, (10, 1))]
    assert ratios[pairs[1]] == 0.25
    assert timed == [(10, 1), (16, 1)] * REPEATS
    assert times[10, 1] == 1.9
    assert compare(pairs[2:], times, again)[pairs[2]] == pytest.approx(3 / 1.9)
    assert len(timed) == 4 * REPEATS


def test_pairs_become_suspicious_by_others() -> None:
    """The neighbour was slow for a moment, which another pair brings to light."""
    from asv_bench.sweep import compare

    times = {(10, 1): 2.2, (16, 1): 3.0, (16, 2): 2.0}
    pairs = [((10, 1), (16, 1)), ((16, 1), (16, 2))]
    ratios = compare(pairs, times, lambda point: {(10, 1): 2.2, (16, 1): 2.0, (16, 2): 2.0}[point])
    assert ratios == {pairs[0]: pytest.approx(1.1), pairs[1]: 1.0}
