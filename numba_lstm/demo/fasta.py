"""Proteins from FASTA files, one after the other: a file may be larger than the memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ..formats.printable import printable
from .source import Source

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
"""The 20 standard amino acids."""

LONGEST = 100_000
"""Letters that a sequence of a stream may have: twice those of the longest protein that is known."""

_PIECE = 1 << 16
"""Letters that are looked at in one go: a line may have no end."""

# What metapredict does by default: ambiguous and rare letters become a near relative, gaps and stops go.
_CONVERSION = bytes.maketrans(b"BUXZ", b"NCGQ")
_LEFT_OUT = b"*-"
_ACCEPTED = (RESIDUES + "BUXZ" + (RESIDUES + "BUXZ").lower()).encode() + _LEFT_OUT


class Protein(NamedTuple):
    """A name and the residues, one capital letter each."""

    name: str
    sequence: str


class Record(NamedTuple):
    """What stands in a FASTA file between two headers: a protein, or what is wrong with it."""

    number: int
    """Which one of the file it is, from 1."""
    name: str
    """The first word of the header, or ``protein_`` and the number."""
    sequence: str
    """Letters of `RESIDUES`; none if something is wrong."""
    error: str | None
    """What is wrong with it, if anything."""


def clean(sequence: str) -> str:
    """Return a sequence in the 20 standard letters.

    Parameters
    ----------
    sequence : str
        Letters of either case.  B, U, X and Z become N, C, G and Q; ``*`` and ``-`` are left out.

    Returns
    -------
    str
        Capital letters, all of them in `RESIDUES`.

    Raises
    ------
    ValueError
        If another letter occurs (it is named with its position), or nothing is left.

    Examples
    --------
    >>> clean("maBX*")
    'MANG'
    """
    # Bytes: a proteome has millions of letters, and they are looked up in a table of 256.
    letters = sequence.encode("ascii", "replace")  # "?" for what is none, letter for letter
    foreign = letters.translate(None, _ACCEPTED)
    if foreign:
        position = letters.index(foreign[:1])
        raise ValueError(f"{sequence[position]!r} at position {position + 1} is not an amino acid")
    cleaned = letters.upper().translate(_CONVERSION, _LEFT_OUT)
    if not cleaned:
        raise ValueError("no residues")
    return cleaned.decode("ascii")


def read_fasta(path: str | os.PathLike[str]) -> list[Protein]:
    """Read the proteins of a FASTA file.

    Parameters
    ----------
    path : path
        A text file, or one that gzip has packed: a line ``>name description`` and lines of residues for each protein.

    Returns
    -------
    list of Protein
        In the order of the file, cleaned by `clean`; the name is the first word of its line.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not FASTA, holds no protein, or a protein is empty or has letters that are no amino acids.
    """
    proteins = []
    with Source(path) as source:
        for record in read_records(source, longest=None):
            if record.error is not None:
                raise ValueError(f"{path}: record {record.number} ({printable(record.name)}): {record.error}")
            proteins.append(Protein(record.name, record.sequence))
    return proteins


def read_records(source: Source | str | os.PathLike[str] | BinaryIO, longest: int | None = LONGEST) -> Iterator[Record]:
    """Read the records of a FASTA file one by one, in memory for one of them.

    Parameters
    ----------
    source : Source, path or binary file
        Text, or what gzip makes of it, also in several members.
    longest : int, optional
        The most letters of a sequence, and of a name.  Of a record that has more nothing is kept but that.

    Yields
    ------
    Record
        Also those with something wrong, which say what: the others can be used.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not FASTA, holds no record, or is a damaged gzip file; after the records that came before.

    Examples
    --------
    >>> import io
    >>> for record in read_records(io.BytesIO(b">P1 the first\\nMAB\\nX\\n>P2\\nM8\\n")):
    ...     print(record.name, record.sequence, record.error)
    P1 MANG None
    P2  '8' at position 2 is not an amino acid
    """
    if not isinstance(source, Source):
        with Source(source) as opened:
            yield from read_records(opened, longest)
        return
    record: _Gathered | None = None
    line, within = 1, False  # the number of the line, and whether letters of it have been seen
    while piece := source.read(_PIECE):
        # Letters, not blanks, begin a line: a header may be indented.
        if not within and piece.lstrip().startswith(">"):
            if record is not None:
                yield record.finished()
            record = _Gathered(1 if record is None else record.number + 1, longest)
            record.add_name(piece.lstrip()[1:])
        elif record is None and piece.strip():
            raise ValueError(f"{source.name}: not FASTA: line {line} comes before any line with '>'")
        elif record is not None and within and record.in_header:
            record.add_name(piece)
        elif record is not None:
            record.add_letters(piece)
        ends = piece.endswith("\n")
        if ends and record is not None:
            record.in_header = False
        line, within = line + ends, not ends and (within or bool(piece.strip()))
    if record is None:
        raise ValueError(f"{source.name}: no proteins: no line starts with '>'")
    yield record.finished()


class _Gathered:
    """A record of which more may come."""

    def __init__(self, number: int, longest: int | None) -> None:
        self.number = number
        self.in_header = True
        """Whether the line of the name goes on."""
        self._longest = longest
        self._name = ""
        self._name_goes_on = True
        self._parts: list[str] = []
        self._letters = 0

    def add_name(self, text: str) -> None:
        """Take more of the header; all behind the first word is dropped."""
        if not self._name_goes_on:
            return
        text = text if self._name else text.lstrip()
        word = text.split(maxsplit=1)[0] if text.strip() and not text[0].isspace() else ""
        self._name += word
        self._name_goes_on = not text or (len(word) == len(text) and not self._long(len(self._name)))

    def add_letters(self, text: str) -> None:
        """Take more of the sequence."""
        parts = text.split()
        self._letters += sum(map(len, parts))
        if self._long(self._letters):
            self._parts.clear()
        else:
            self._parts += parts

    def finished(self) -> Record:
        """Return it; nothing more comes."""
        name = self._name or f"protein_{self.number}"
        if self._long(len(name)):
            # What lies behind may have been dropped, depending on the pieces that it came in.
            shown = name[: self._longest][:100]
            return Record(self.number, shown, "", f"the name has more than {self._longest:,} letters")
        if self._long(self._letters):
            return Record(self.number, name, "", f"the sequence has more than {self._longest:,} letters")
        try:
            return Record(self.number, name, clean("".join(self._parts)), None)
        except ValueError as error:
            return Record(self.number, name, "", str(error))

    def _long(self, count: int) -> bool:
        return self._longest is not None and count > self._longest
