"""The command ``numba-lstm demo``."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any

import numpy as np
from tqdm import tqdm

from ..demo import DisorderNetwork, bundled_proteins, format_table, most_disordered, published_scores
from ..demo.fasta import Record, read_records
from ..demo.scoring import Engine, score_records
from ..demo.source import Source
from ..demo.table import Row
from ..demo.workers import Workers
from ._console import (
    SOME_NOT_DONE,
    InputError,
    check_shows,
    prepare_kernels,
    say,
    set_threads,
    show,
    show_json,
    shown,
    standard_buffer,
    tidy_termination,
)
from ._output import STANDARD, Output
from ._scores import Scores

TABLE_ROWS = 10
PLOT_ROWS = 5
PLOT_SUFFIX = ".png"
"""Of a picture whose name does not say it: one for a device, or for standard output."""

MOST_REPORTED = 10
"""Proteins that could not be scored and are told one by one."""


def demo(options: argparse.Namespace) -> int:
    """Score proteins."""
    check_shows()
    if options.resume and options.output is None:
        raise InputError("--resume goes on with an output: name it with -o")
    if options.threads is not None and (options.workers or options.scheduler):
        raise InputError("--threads is for this process; a worker has one thread")
    picture = None if options.plot is None else _picture(options)
    output = None if options.output is None else Scores(options)
    if options.json and output is not None and output.is_standard:
        raise InputError("--json and the scores would both go to standard output: name a file with -o")
    set_threads(options.threads)
    with ExitStack() as stack:
        proteins = _Proteins(options, stack)
        engine, prepared = _engine(options, stack)
        scoring = _Scoring(proteins, None if output is None else stack.enter_context(output))
        start = time.perf_counter()
        rows = most_disordered(scoring.rows(engine), TABLE_ROWS)
        seconds = time.perf_counter() - start
        if output is not None:
            output.finish()
    status = _status(proteins, scoring)
    if output is not None and output.is_standard:
        return status
    if options.json:
        show_json(scoring.figures(seconds) | {"most_disordered": [_figures(row) for row in rows]})
    else:
        show(f"The most disordered of {scoring.scored} proteins (metapredict V3):\n")
        show(format_table([row._replace(name=shown(row.name)) for row in rows]))
        rate = scoring.residues / seconds
        show(f"\n{scoring.residues:,} residues in {seconds:.2f} s: {rate:,.0f} residues per second")
        show(f"{prepared}, not counted above")
        if options.fasta is None:
            show(f"largest difference from the published scores: {scoring.difference:.1e}")
        if output is not None:
            before = f", {scoring.stored:,} of them from before" if options.resume else ""
            output.note(f"{scoring.scored + scoring.bad:,} rows{before}")
    if picture is not None:
        from ..demo.plot import draw_profiles  # matplotlib is optional

        ending = (picture.suffix or PLOT_SUFFIX)[1:]
        picture.write(lambda file: draw_profiles(rows[:PLOT_ROWS], file, ending))
        if not options.json:
            picture.note("the most disordered profiles")
    return status


def _figures(row: Row) -> dict[str, Any]:
    """Return what the table says of a protein, for a program."""
    return {"name": row.name, "residues": row.scores.size, "mean": row.mean, "disordered": row.disordered}


def _picture(options: argparse.Namespace) -> Output:
    """Return where the picture goes; refuse one that could not be drawn, before the proteins are scored."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install 'numba-lstm[plot]'")
    from ..demo.plot import supported_formats

    endings = [f".{name}" for name in supported_formats()]
    picture = Output(options.plot, endings, lambda: [] if options.fasta is None else [options.fasta], options.force)
    if picture.is_standard:
        raise InputError("the table goes to standard output: --plot needs another place")
    return picture


def _engine(options: argparse.Namespace, stack: ExitStack) -> tuple[Engine, str]:
    """Return what computes, and a line on what it took to have it ready."""
    if options.scheduler is None:  # workers of ours find compiled what is compiled here
        prepared = prepare_kernels(np.float32)
    if options.workers is None and options.scheduler is None:
        return functools.partial(map, DisorderNetwork().score_many), prepared

    def waiting() -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            say(f"{options.scheduler} has no workers; waiting for some")

    start = time.perf_counter()
    stack.enter_context(tidy_termination())
    # Workers of ours are replaced at once.
    workers = Workers(options.workers, options.scheduler, None if options.scheduler is None else waiting)
    for name in ("distributed", "distributed.client", "tornado.application"):  # they tell of every loss, at length
        logging.getLogger(name).setLevel(logging.CRITICAL)
    stack.enter_context(workers)
    return workers.scores, f"workers ready in {time.perf_counter() - start:.2f} s"


def _status(proteins: _Proteins, scoring: _Scoring) -> int:
    """Return the exit status, after a word on what was not scored."""
    if not scoring.bad:
        return 0
    if not scoring.scored:
        raise InputError(f"{proteins.name}: none of {scoring.bad:,} proteins could be scored")
    if scoring.bad > MOST_REPORTED:
        say(f"{proteins.name}: in all {scoring.bad:,} of {scoring.bad + scoring.scored:,} proteins were not scored")
    return SOME_NOT_DONE


class _Proteins:
    """The records to score, and how many residues they may have."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self._read = 0
        self._limited = options.limit is not None
        self._source: Source | None = None
        self.published: list[np.ndarray] | None = None
        """Scores of the records that somebody else has computed."""
        if options.fasta is None:
            self.name = "the bundled proteins"
            proteins = bundled_proteins()[: options.limit]
            self._total: int | None = sum(len(protein.sequence) for protein in proteins)
            self.records: Iterator[Record] = (
                Record(number, *protein, None) for number, protein in enumerate(proteins, start=1)
            )
            self.published = published_scores()
            return
        if options.fasta == STANDARD:
            source = Source(standard_buffer("stdin", "input"), "standard input")
        else:
            source = Source(options.fasta)
        self._source = stack.enter_context(source)
        self.name, self._total = source.name, None
        records = islice(read_records(source), options.limit)
        # What is no FASTA is refused before anything is compiled or written.
        self.records = self._counted(chain([next(records)], records))

    def total(self) -> int | None:
        """Return how many residues there will be, if the rest of a file is as its beginning; None if nothing tells."""
        if self._source is None or not self._source.size or not self._source.position:
            return self._total
        if self._limited:  # the rest of the file tells nothing
            return None
        return round(self._read * self._source.size / self._source.position)

    def _counted(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            self._read += len(record.sequence)
            yield record


class _Scoring:
    """What becomes of the records, counted."""

    def __init__(self, proteins: _Proteins, output: Scores | None) -> None:
        self._proteins, self._output = proteins, output
        self.scored = self.bad = self.stored = 0
        """Proteins with scores and without, and how many of both were in the output before."""
        self.residues = 0
        """Those that were computed."""
        self.difference = 0.0
        """The largest from scores that were published."""

    def rows(self, engine: Engine | None) -> Iterator[Row]:
        """Score the records, write them, and give the rows of those that have scores."""
        residues = 0
        if self._output is not None:
            for record, scores in self._output.stored(self._proteins.records):
                self.stored += 1
                residues += len(record.sequence)
                yield from self._row(record, scores)
        hidden = True if sys.stderr is None else None  # None: where there is no terminal
        with tqdm(
            total=self._proteins.total(), initial=residues, unit=" residues", unit_scale=True, desc="scoring",
            leave=False, disable=hidden,
        ) as bar:  # fmt: skip

            def progress(count: int) -> None:
                self.residues += count
                bar.total = self._proteins.total()
                bar.update(count)

            for record, scores in score_records(self._proteins.records, engine, progress):
                if self._output is not None:
                    self._output.add(record, scores)
                yield from self._row(record, scores)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Return what was counted, for a program, after so much time."""
        return {
            "proteins": self.scored,
            "not_scored": self.bad,
            "from_before": self.stored,
            "residues": self.residues,
            "seconds": seconds,
            "residues_per_second": self.residues / seconds,
            "largest_difference": None if self._proteins.published is None else self.difference,
        }

    def _row(self, record: Record, scores: np.ndarray | None) -> Iterator[Row]:
        if scores is not None:
            self.scored += 1
            if self._proteins.published is not None:
                difference = np.abs(scores - self._proteins.published[record.number - 1]).max()
                self.difference = max(self.difference, float(difference))
            yield Row(record.name, scores)
            return
        self.bad += 1
        if self.bad <= MOST_REPORTED:
            with tqdm.external_write_mode(file=sys.stderr):
                say(f"{self._proteins.name}: record {record.number} ({record.name[:100]}): {record.error}")
