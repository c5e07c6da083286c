"""Measure every table and picture of README and pages, in one go: ``python -m asv_bench.tables``.

``--peers PYTHON`` and ``--clients PYTHON`` are the interpreters that have the peers, and the packages of
`asv_bench.clients`.

Each part is a command of this package, in a process of its own, one after the other, and writes into copies of the
pages.  When the last one is done, all tables go into the pages, each of which says once of what machine, days and
versions they are.  What was done is kept in ``--folder`` until then: ``--only`` goes on from there or, where there is
no such folder, measures parts of the pages again, on another machine only all parts of a page.  The exit status is 1 if
a part misses a limit or fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import accuracy, clients, isa, neighbours, pictures, reliability, report, trained
from .clients.programs import PROGRAMS

ROUNDS = 3

PEERS = "torch", "onnxruntime", "onnx", "openvino", "jax"
"""Packages of the engines beside which parts are timed."""

PAGES = {
    "readme": report.ROOT / "README.md",
    "performance": report.PAGE,
    **{name: report.FOLDER / f"{name}.md" for name in ("engines", "forms", "streams", "training", "limits")},
    "threads": neighbours.PAGE,
    "reliability": reliability.PAGE,
    "accuracy": accuracy.PAGE,
    "models": clients.PAGE,
    "platforms": isa.PAGE,
    "weights": trained.PAGE,
}
"""All that have tables."""

FOLDER = report.ROOT / "asv_bench" / "results" / "tables"

MISSING = "missing.json"
"""Names, in the folder, of parts that are to be measured before its tables may replace those of the project."""


class Failed(Exception):
    """A part ended without its tables, for the reason that it printed."""


class Part(NamedTuple):
    """A command that writes blocks of pages."""

    command: str
    """In ``asv_bench``, with its options; the names in braces are those of pages, and of what `words` adds."""
    blocks: dict[str, list[str]]
    """By page."""
    python: str = "own"
    """Whose interpreter runs it: this one, or that of the peers or of the clients."""

    def places(self) -> list[tuple[str, str]]:
        """Return the page and the name of each block."""
        return [(page, block) for page, blocks in self.blocks.items() for block in blocks]


BESIDE = "--threads 1 2 --rounds {rounds} --peers {peers}"
PICTURES = "--plot {docs}/peers.png --roofline {docs}/roofline.png"

PARTS = {
    "peers": Part(
        f"peers {BESIDE} --readme {{readme}} --page {{performance}} --full {{engines}} {PICTURES}",
        {"readme": ["speed"], "performance": ["peers", "bound"], "engines": ["engines"]},
    ),
    "few": Part(f"peers --shapes few {BESIDE} --full {{engines}}", {"engines": ["few"]}),
    "forms": Part(f"forms {BESIDE} --page {{forms}}", {"forms": ["forms"]}),
    "isa": Part(f"isa {BESIDE} --page {{platforms}}", {"platforms": ["isa"]}),
    "packing": Part("packing --page {forms}", {"forms": ["packing"]}),
    "trained": Part("trained --rounds {rounds} --page {weights}", {"weights": ["trained"]}),
    "ways": Part("ways --threads 2 --page {limits}", {"limits": ["ways"]}),
    "sweep": Part("sweep --plot {docs}/sweep.png --page {limits}", {"limits": ["sweep"]}),
    "streams": Part("streams --page {streams}", {"streams": ["streams"]}),
    "serving": Part("serving --page {streams}", {"streams": ["serving"]}),
    "workers": Part("workers --page {streams}", {"streams": ["workers"]}),
    "voice": Part("voice --page {streams}", {"streams": ["voice"]}, "peers"),
    "special": Part("special --threads 1 2 --page {limits}", {"limits": ["special"]}),
    "startup": Part("startup --peers {peers} --page {streams}", {"streams": ["startup"]}),
    "proteins": Part("proteins --peers {peers} --page {engines}", {"engines": ["proteins"]}),
    "training": Part(f"training {BESIDE} --page {{training}}", {"training": ["training"]}),
    "accelerate": Part("accelerate --compiled --page {training}", {"training": ["accelerate"]}, "peers"),
    "clients": Part("clients --page {models}", {"models": ["clients"]}, "clients"),
    "accuracy": Part("accuracy --peers {peers} --page {accuracy}", {"accuracy": ["accuracy"]}),
    "reliability": Part("reliability --page {reliability}", {"reliability": ["reliability"]}),
    "neighbours": Part("neighbours --peers {peers} --page {threads}", {"threads": ["neighbours"]}),
}


def copy_of(path: Path, folder: Path) -> Path:
    """Return where a page, or a folder of pages, is in the folder of copies, with the same ways between them."""
    return folder / path.relative_to(report.ROOT)


def words(part: Part, pythons: dict[str, str], rounds: int, folder: Path) -> list[str]:
    """Return the command line of a part, with the interpreters that there are for `Part.python`."""
    places = {name: copy_of(page, folder) for name, page in PAGES.items()}
    places["docs"] = places["performance"].parent
    module, *options = (word.format(peers=pythons["peers"], rounds=rounds, **places) for word in part.command.split())
    return [pythons[part.python], "-m", f"asv_bench.{module}", *options]


def run(name: str, command: Sequence[str], folder: Path) -> bool:
    """Run a part and return whether it kept its limits.

    Raises
    ------
    Failed
        If it has not written all of its blocks.
    """
    blocks = [(copy_of(PAGES[page], folder), block) for page, block in PARTS[name].places()]
    for copy, block in blocks:
        report.write_block(copy, block, "")
    done = subprocess.run(command, cwd=report.ROOT, check=False)
    if not all(report.read_block(copy, block) for copy, block in blocks):
        raise Failed(f"{name} has failed; when its cause is mended: --only {name}")
    return done.returncode == 0


def prepare(folder: Path, only: Sequence[str] | None) -> list[str]:
    """Copy the pages, unless there are copies to go on with, and return the parts that are missing in them."""
    missing = folder / MISSING
    if only and missing.exists():
        return list(dict.fromkeys([*json.loads(missing.read_text(encoding="utf-8")), *only]))
    shutil.rmtree(folder, ignore_errors=True)
    names = list(only or PARTS)
    for name, page in PAGES.items():
        parts = [part for part, each in PARTS.items() if name in each.blocks]
        kept = [part for part in parts if part not in names]
        about = report.read_caption(report.read_block(page, report.MEASURED))
        if 0 < len(kept) < len(parts) and (not about or about["machine"] != report.machine()):
            machine = about["machine"] if about else "a machine that it does not name"
            raise SystemExit(f"{page} has figures of {machine}: --only {' '.join(parts)} measures all of that page")
        copy = copy_of(page, folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, copy)
        if not kept:
            report.write_block(copy, report.MEASURED, "")
    return names


def finish(folder: Path) -> None:
    """Replace tables and pictures of the project, and have all pages of a machine say the same of their figures."""
    captions = {}
    for page in PAGES.values():
        if about := report.read_caption(report.read_block(copy_of(page, folder), report.MEASURED)):
            captions[page] = about
    for part in PARTS.values():
        for name, block in part.places():
            report.write_block(PAGES[name], block, report.read_block(copy_of(PAGES[name], folder), block))
    for page, about in captions.items():
        alike = [other for other in captions.values() if other["machine"] == about["machine"]]
        report.write_block(page, report.MEASURED, report.caption(report.together(alike)))
    for picture in folder.rglob("*.png"):
        shutil.copyfile(picture, report.ROOT / picture.relative_to(folder))
    shutil.rmtree(folder)


def check(pythons: dict[str, str], names: Sequence[str]) -> None:
    """Refuse what would fail at the end, before anything is timed.

    That is no plots, versions that do not go together, and packages that are not there: without one of the peers the
    others would be the best.
    """
    pictures.figure_class()
    known: dict[str, str] = {}
    for python in pythons.values():
        found = report.versions_of(python, "numba", "numpy", "torch")
        if any(known.get(name, version) != version for name, version in found.items()):
            raise SystemExit(f"{python} has {found}, other interpreters {known}: accelerated modules would be others")
        known |= found
    if any("{peers}" in PARTS[name].command or PARTS[name].python == "peers" for name in names):
        missing = set(PEERS) - set(report.versions_of(pythons["peers"], *PEERS))
        if missing:
            raise SystemExit(f"{pythons['peers']} has no {', '.join(sorted(missing))}: --peers names another")
    if "clients" in names:
        packages = {entry.package for entry in PROGRAMS.values()}
        missing = packages - set(report.versions_of(pythons["clients"], *packages))
        if missing:
            raise SystemExit(f"{pythons['clients']} has no {', '.join(sorted(missing))}: --clients names another")


def measure(names: Sequence[str], missing: list[str], folder: Path, pythons: dict[str, str], rounds: int) -> list[str]:
    """Run parts, take those that are done from the missing ones, and return complaints."""
    complaints, seconds = [], {}
    for name in names:
        print(f"--- {name}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            kept = run(name, words(PARTS[name], pythons, rounds, folder), folder)
        except Failed as error:
            complaints.append(str(error))
        else:
            missing.remove(name)
            complaints += [] if kept else [f"{name} misses a limit, see above"]
        (folder / MISSING).write_text(json.dumps(missing), encoding="utf-8")
        seconds[name] = time.perf_counter() - began
    seconds["all"] = sum(seconds.values())
    rows = [[name, f"{taken:.0f}"] for name, taken in seconds.items()]
    print(report.markdown_table(["part", "seconds"], rows), file=sys.stderr)
    return complaints


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.tables", description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="an interpreter with peers and numba")
    parser.add_argument("--clients", default=sys.executable, metavar="PYTHON", help="one of asv_bench.clients")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="for the comparisons with the peers")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for copies of the pages, until all parts are done")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    pythons = {"own": sys.executable, "peers": options.peers, "clients": options.clients}
    names = options.only or list(PARTS)
    check(pythons, names)
    missing = prepare(folder, options.only)
    complaints = measure(names, missing, folder, pythons, options.rounds)
    if missing:
        complaints.append(f"no page was changed: {', '.join(missing)} are missing")
    else:
        finish(folder)
    for complaint in complaints:
        print(f"! {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
