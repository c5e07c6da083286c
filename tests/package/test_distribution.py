"""What is uploaded: the metadata that an index shows, the files of wheel and source archive, the links of pages."""

from __future__ import annotations

import email
import email.message
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT

import numba_lstm

PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
"""Those that a platform or an index shows by themselves; links of the site are checked when it is built."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a wheel and a source archive."""
    build: Any = pytest.importorskip("hatchling.build")
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build.build_wheel(str(folder))
        build.build_sdist(str(folder))
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> list[str]:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(built: Path) -> email.message.Message:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_who_and_what(metadata: email.message.Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("numba-lstm", numba_lstm.__version__)
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_licences(metadata: email.message.Message, wheel: list[str]) -> None:
    """Of everything in the wheel, and their texts with it."""
    assert metadata["License-Expression"] == "BSD-3-Clause AND MIT AND CC-BY-4.0"
    texts = metadata.get_all("License-File", [])
    assert {"LICENSE", "numba_lstm/demo/LICENSE"} <= set(texts)
    inside = [name for name in wheel if "/licenses/" in name]
    assert sorted(name.partition("/licenses/")[2] for name in inside) == sorted(texts)
    assert (ROOT / "LICENSE").read_text().startswith("BSD 3-Clause License")
    for name in sorted(set(texts) - {"LICENSE"}):
        assert (ROOT / name).read_text().strip().startswith("MIT License")


def test_pythons(metadata: email.message.Message) -> None:
    """A classifier for each, from the one that is required on."""
    found = [re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", c) for c in metadata.get_all("Classifier", [])]
    minor = [int(match[1]) for match in found if match]
    assert metadata["Requires-Python"] == f">=3.{minor[0]}"
    assert minor == list(range(minor[0], minor[-1] + 1))


def test_classifiers_are_known(metadata: email.message.Message) -> None:
    """An index refuses what has others."""
    known = pytest.importorskip("trove_classifiers").classifiers
    assert set(metadata.get_all("Classifier", [])) <= set(known)


def test_the_wheel_has_the_package_alone(wheel: list[str]) -> None:
    folders = {name.partition("/")[0] for name in wheel}
    assert folders == {"numba_lstm", f"numba_lstm-{numba_lstm.__version__}.dist-info"}
    assert {"numba_lstm/py.typed", "numba_lstm/demo/proteins.fasta"} <= set(wheel)
    assert not [name for name in wheel if "__pycache__" in name]


def test_the_source_archive_has_what_belongs_to_it(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*PAGES, "CITATION.cff", "LICENSE", "pyproject.toml", "docs/index.md", "tests/conftest.py"} <= names
    for name in ("numba_lstm/demo/LICENSE", "docs/examples/silero_vad/LICENSE"):
        assert name in names


def test_who_cites_cites_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {numba_lstm.__version__}\n" in text


def anchors(page: Path) -> set[str]:
    """Return what links can point to within a page of Markdown: its headings, as platforms name them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert links
    for link in links:
        if "://" in link:
            assert re.match(r"https://[a-z0-9.-]+\.[a-z]+(/|$)", link), link
            continue
        path, _, anchor = link.partition("#")
        page = ROOT / path if path else ROOT / name
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


def test_links_that_an_index_shows(metadata: email.message.Message) -> None:
    """Relative links lead nowhere there; until the repository has an address they cannot lead anywhere else."""
    relative = re.findall(r"\]\((?!https://)([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert not (relative and metadata.get_all("Project-URL")), relative
