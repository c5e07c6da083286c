"""The demo: FASTA files, the whole disorder network against its published scores, the table, the picture."""

from __future__ import annotations

import io as stdio
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from numba_lstm import demo
from numba_lstm.demo.disorder import one_hot
from numba_lstm.demo.fasta import RESIDUES
from numba_lstm.demo.table import Row

PUBLISHED_TOLERANCE = 2e-5


def write(folder: Path, text: str) -> Path:
    path = folder / "proteins.fasta"
    path.write_text(text)
    return path


def test_bundled_proteins_are_standard_and_as_long_as_their_scores() -> None:
    proteins, published = demo.bundled_proteins(), demo.published_scores()
    assert len(proteins) == len(published) == 120
    assert len({protein.name for protein in proteins}) == 120
    for protein, scores in zip(proteins, published, strict=True):
        assert scores.shape == (len(protein.sequence),)
        assert scores.dtype == np.float32
        assert set(protein.sequence) <= set(RESIDUES)
        assert 0 <= scores.min() <= scores.max() <= 1


def test_scores_are_the_published_ones() -> None:
    network = demo.DisorderNetwork()
    finished: list[int] = []
    sequences = [protein.sequence for protein in demo.bundled_proteins()]
    scores = network.score_many(sequences, finished.append)
    assert sum(finished) == sum(len(sequence) for sequence in sequences)
    for ours, published in zip(scores, demo.published_scores(), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, published, rtol=0, atol=PUBLISHED_TOLERANCE)


def test_a_protein_scores_the_same_alone_and_among_others() -> None:
    network = demo.DisorderNetwork()
    sequences = [protein.sequence for protein in demo.bundled_proteins()[:5]]
    for sequence, scores in zip(sequences, network.score_many(sequences), strict=True):
        np.testing.assert_array_equal(network.score(sequence), scores)


def test_one_hot() -> None:
    encoded = one_hot(RESIDUES)
    np.testing.assert_array_equal(encoded, np.eye(20, dtype=np.float32))
    assert encoded.dtype == np.float32


@pytest.mark.parametrize("sequence", ["", "ACB", "ac", "ACDÉ", "A C"])
def test_one_hot_refuses_other_letters(sequence: str) -> None:
    with pytest.raises(ValueError, match="letters ACDEFGHIKLMNPQRSTVWY"):
        one_hot(sequence)


def test_fasta_is_read_and_cleaned(tmp_path: Path) -> None:
    path = write(tmp_path, "\n>sp|P1|X first one\nmaB X\r\nUz*\n\n>  \nGG-G\n>P3\tthird\nA")
    assert demo.read_fasta(path) == [("sp|P1|X", "MANGCQ"), ("protein_2", "GGG"), ("P3", "A")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no proteins"),
        ("\n\n", "no proteins"),
        ("ACDE\n", "not FASTA: line 1 "),
        ("\nname\n>P1\nACDE\n", "not FASTA: line 2 "),
        (">P1\n>P2\nACDE\n", r"record 1 \(P1\): no residues"),
        (">P1\nACDE\n>P2 second\n**--\n", r"record 2 \(P2\): no residues"),
        (">P1\nAC\nD1E\n", r"record 1 \(P1\): '1' at position 4 is not an amino acid"),
        (">P1\nACDJ\n", r"record 1 \(P1\): 'J' at position 4 is not an amino acid"),
        (">P1\nACDé\n", r"record 1 \(P1\): 'é' at position 4"),
        (">\nAC>\n", r"record 1 \(protein_1\): '>' at position 3"),
    ],
)
def test_fasta_errors_name_file_record_and_position(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"proteins\.fasta: " + complaint):
        demo.read_fasta(write(tmp_path, text))


def test_a_file_of_bytes_is_not_fasta(tmp_path: Path) -> None:
    path = tmp_path / "proteins.fasta.gz"
    path.write_bytes(b"\x1f\x8c\x08\x00\xff\xfe\n\x80")
    with pytest.raises(ValueError, match="not FASTA: line 1"):
        demo.read_fasta(path)


def test_table_has_the_most_disordered_first() -> None:
    scores = {"low": 0.1, "high": 0.9, "middle": 0.5}
    rows = demo.most_disordered((Row(name, np.full(4, value, np.float32)) for name, value in scores.items()), 2)
    assert [row.name for row in rows] == ["high", "middle"]
    lines = demo.format_table(rows).splitlines()
    assert lines[0].split() == ["protein", "residues", "mean", "score", ">", "0.5"]
    assert lines[1].split() == ["high", "4", "0.900", "100%"]
    assert lines[2].split() == ["middle", "4", "0.500", "0%"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("lengths", [(1,), (30, 2, 500)])
def test_picture(lengths: tuple[int, ...]) -> None:
    pytest.importorskip("matplotlib")
    from numba_lstm.demo.plot import draw_profiles, supported_formats

    random = np.random.default_rng(0)
    rows = [Row(f"P{length}", random.random(length, np.float32)) for length in lengths]
    file = stdio.BytesIO()
    draw_profiles(rows, file, "png")
    assert file.getvalue().startswith(b"\x89PNG")
    assert "png" in supported_formats()


UNDRAWN = "none"
"""The format of a picture that is not drawn, as TeX may be missing."""


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the titles of pictures that are drawn meanwhile."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    found: list[Any] = []
    save = Figure.savefig

    def savefig(figure: Any, file: Any, format: str, **options: Any) -> None:
        if format != UNDRAWN:
            save(figure, file, format=format, **options)
        found.extend(text for text in figure.findobj(Text) if text.get_text().endswith("residues)"))

    monkeypatch.setattr(Figure, "savefig", savefig)
    return found


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("$P1$", "$P1$"),
        ("$", "$"),
        (r"$\frac{1$", r"$\frac{1$"),
        (r"a\$b", r"a\$b"),
        ("P_1^2{%}&#~", "P_1^2{%}&#~"),
        ("a\nb", r"a\nb"),
        ("a\x00\x1b[31m\x7fb", r"a\x00\x1b[31m\x7fb"),
        ("a\u202eb\u2028c\udcff", r"a\u202eb\u2028c\udcff"),
        ("--><script>", "--><script>"),
        ("x" * 42, "x" * 42),
        ("x" * 100_000, "x" * 42 + "..."),
    ],
    ids=lambda text: ascii(text[:20]),
)
@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_a_name_of_any_letters_is_drawn(name: str, title: str, format: str, titles: list[Any]) -> None:
    from numba_lstm.demo.plot import draw_profiles

    file = stdio.BytesIO()
    draw_profiles([Row(name, np.linspace(0, 1, 5, dtype=np.float32))], file, format)
    assert [(text.get_text(), text.get_parse_math()) for text in titles] == [(f"{title} (5 residues)", False)]
    if format == "svg":
        ElementTree.fromstring(file.getvalue())


@pytest.mark.parametrize("letter", ["x", "W", "\N{EM DASH}", "語"], ids=ascii)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_long_name_leaves_room_for_the_length(letter: str, titles: list[Any]) -> None:
    from numba_lstm.demo.plot import draw_profiles

    draw_profiles([Row(letter * 1000, np.zeros(34_350, np.float32))], stdio.BytesIO(), "png")
    title, = titles
    dpi = 120  # of the picture, which is no longer that of the figure
    assert title.get_window_extent(dpi=dpi).x1 < title.figure.get_figwidth() * dpi


def test_a_name_is_not_left_to_tex(titles: list[Any]) -> None:
    import matplotlib

    from numba_lstm.demo.plot import draw_profiles

    with matplotlib.rc_context({"text.usetex": True}):
        draw_profiles([Row("P_1", np.zeros(5, np.float32))], stdio.BytesIO(), UNDRAWN)
    assert [text.get_usetex() for text in titles] == [False]
