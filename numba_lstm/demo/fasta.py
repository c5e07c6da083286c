"""Proteins from FASTA files."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ..formats.printable import printable

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
"""The 20 standard amino acids."""

# What metapredict does by default: ambiguous and rare letters become a near relative, gaps and stops go.
_CONVERSION = str.maketrans({"B": "N", "U": "C", "X": "G", "Z": "Q", "*": None, "-": None})
_ACCEPTED = set(RESIDUES + "BUXZ").union((RESIDUES + "BUXZ").lower(), "*-")


class Protein(NamedTuple):
    """A name and the residues, one capital letter each."""

    name: str
    sequence: str


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
    foreign = set(sequence) - _ACCEPTED
    if foreign:
        position = min(sequence.index(letter) for letter in foreign)
        raise ValueError(f"{sequence[position]!r} at position {position + 1} is not an amino acid")
    cleaned = sequence.upper().translate(_CONVERSION)
    if not cleaned:
        raise ValueError("no residues")
    return cleaned


def read_fasta(path: str | os.PathLike[str]) -> list[Protein]:
    """Read the proteins of a FASTA file.

    Parameters
    ----------
    path : path
        A text file: a line ``>name description`` and lines of residues for each protein.

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
    records: list[tuple[list[str], list[str]]] = []  # words of the header, pieces of the sequence
    # Headers come in many encodings; among residues, which are ASCII, a stray byte is reported by `clean`.
    with Path(path).open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if text.startswith(">"):
                records.append((text[1:].split(), []))
            elif text and not records:
                raise ValueError(f"{path}: not FASTA: line {number} comes before any line with '>'")
            elif text:
                records[-1][1].extend(text.split())
    if not records:
        raise ValueError(f"{path}: no proteins: no line starts with '>'")
    proteins = []
    for index, (words, parts) in enumerate(records, start=1):
        name = words[0] if words else f"protein_{index}"
        try:
            proteins.append(Protein(name, clean("".join(parts))))
        except ValueError as error:
            raise ValueError(f"{path}: record {index} ({printable(name)}): {error}") from None
    return proteins
