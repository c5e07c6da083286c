"""HDF5 files that ask for more work or memory than they have bytes: they end soon, with an error or without."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from support import allocations, hdf5_files, processes

from numba_lstm.formats import hdf5
from numba_lstm.formats.hdf5.file_bytes import FileBytes
from numba_lstm.io import keras
from numba_lstm.io.keras import weights


def test_each_attribute_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of names in thousands of parts, each an attribute."""
    parts, reads, read = 3_000, 0, FileBytes.read
    kind = hdf5_files.texts(1)
    content = hdf5_files.file(b"".join(hdf5_files.attribute(f"names{part}", kind, 1, b"a") for part in range(parts)))

    def counted(file: FileBytes, place: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(file, place, size)

    monkeypatch.setattr(FileBytes, "read", counted)
    assert weights._paths(hdf5.File(content).root, "names") == ["a"] * parts
    assert reads < 60 * parts


def test_attributes_with_names_over_each_other() -> None:
    """Each name reaches far into what follows."""
    count, size = 1_000, 30
    content = b""
    for left in reversed(range(count)):
        length = min(left * size, 0x7FFF) & 0x7F7F  # whose bytes are those of a text
        content += hdf5_files.message(0xC, (b"\3\0" + length.to_bytes(2, "little")).ljust(size - 4, b"\0"))
    root = hdf5.File(hdf5_files.file(content)).root
    with allocations.at_most(16 << 20), pytest.raises(ValueError, match="lie over each other"):
        root.attribute("none")


def test_links_with_names_over_each_other() -> None:
    """Each name reaches far into what follows."""
    count, size = 1_000, len(hdf5_files.link(b"", 0))
    lengths = [(size * left) & 0x7F7F for left in reversed(range(count))]  # whose bytes are those of a text
    links = b"".join(hdf5_files.link(b"", 0, length) for length in lengths)
    root = hdf5.File(hdf5_files.file(links, bytes(16))).root
    with allocations.at_most(16 << 20), pytest.raises(ValueError, match="lie over each other"):
        root.names()


@pytest.mark.parametrize("kind", [0, 0x12], ids=["nothing", "time"])
def test_memory_for_empty_messages(kind: int) -> None:
    """Of four bytes each."""
    content = hdf5_files.file(hdf5_files.message(kind) * (1 << 18))
    with allocations.at_most(16 << 20), contextlib.suppress(ValueError):
        hdf5.File(content).root.names()


def test_memory_for_short_texts() -> None:
    """Of two bytes each."""
    count = 1 << 19
    content = hdf5_files.file(hdf5_files.attribute("names", hdf5_files.texts(2), count), b"ab" * count)
    root = hdf5.File(content).root
    with allocations.at_most(16 << 20), pytest.raises(ValueError, match="lie over each other"):
        root.attribute("names")


def test_memory_for_texts_elsewhere() -> None:
    """Five collections that have the same texts, of no bytes each."""
    count = 5
    texts = b"".join((2 + index).to_bytes(2, "little").ljust(16, b"\0") for index in range(0xFFF0))
    place = len(hdf5_files.file(hdf5_files.attribute("a", hdf5_files.TEXTS_ELSEWHERE, count))) + 16 * count
    values, heaps = b"", b""
    for index in range(count):
        after = 32 * (count - 1 - index)  # a first text of each is the beginnings of the further ones
        size, first = 32 + after + len(texts), b"\1".ljust(8, b"\0") + after.to_bytes(8, "little")
        values += (1).to_bytes(4, "little") + (place + 32 * index).to_bytes(8, "little") + bytes(4)
        heaps += b"GCOL\1\0\0\0" + size.to_bytes(8, "little") + first
    attribute = hdf5_files.attribute("a", hdf5_files.TEXTS_ELSEWHERE, count)
    root = hdf5.File(hdf5_files.file(attribute, values + heaps + texts)).root
    with allocations.at_most(24 << 20), pytest.raises(ValueError, match="lie over each other"):
        root.attribute("a")


def test_texts_elsewhere_over_each_other() -> None:
    """Collections of texts, in each of which one reaches to the end of the file."""
    count, size = 1_000, 64
    attribute = hdf5_files.attribute("a", hdf5_files.TEXTS_ELSEWHERE, count)
    place = len(hdf5_files.file(attribute)) + 16 * count
    values, heaps, end = b"", b"", place + size * count
    for address in range(place, end, size):
        values += (1).to_bytes(4, "little") + address.to_bytes(8, "little") + (1).to_bytes(4, "little")
        heap = b"GCOL\1\0\0\0" + size.to_bytes(8, "little") + (1).to_bytes(8, "little")
        heaps += (heap + (end - address - 32).to_bytes(8, "little")).ljust(size, b"\0")
    root = hdf5.File(hdf5_files.file(attribute, values + heaps)).root
    with allocations.at_most(16 << 20), pytest.raises(ValueError, match=r"a text at [\d,]+ is too long"):
        root.attribute("a")


def test_numbers_are_not_copied() -> None:
    """An attribute of all that follows in the file, as an array."""
    size = 16 << 20
    content = hdf5_files.file(hdf5_files.attribute("a", b"\x10\0\0\0\1\0\0\0", size), bytes(size))
    root = hdf5.File(content).root
    with allocations.at_most(1 << 20):
        assert root.attribute("a").shape == (size,)


def test_a_list_of_nothing_for_many_layers(tmp_path: Path) -> None:
    """Texts of no length take no bytes, and are looked at for each layer of a model."""
    count = 4_000
    names = hdf5_files.attribute("weight_names", hdf5_files.TEXTS_ELSEWHERE, count)
    path = tmp_path / "a.h5"
    path.write_bytes(hdf5_files.layer("outer", names, bytes(16 * count)))
    inner = [{"class_name": "LSTM", "config": {"name": f"l{index}"}} for index in range(200)]
    outer = {"class_name": "Sequential", "config": {"name": "outer", "layers": inner}}
    with pytest.raises(ValueError, match=r"a\.h5: .* lie over each other"):
        keras.load(path, config={"class_name": "Sequential", "config": {"layers": [outer]}})


def test_names_of_many_layers(tmp_path: Path) -> None:
    """Each is compared with few others: all pairs would be tens of billions."""
    count = 200_000
    values = b"".join(b"%012d/g\0\0" % index for index in range(count))
    path = tmp_path / "a.h5"
    path.write_bytes(hdf5_files.layer("l", hdf5_files.attribute("weight_names", hdf5_files.texts(16), count), values))
    code = "import sys, pathlib; from numba_lstm.io import keras; assert not keras.describe(pathlib.Path(sys.argv[1]))"
    processes.run(code, str(path))


def test_names_of_many_models_around_a_layer(tmp_path: Path) -> None:
    """They are looked for in the names of arrays, which have as many parts."""
    count, size = 3_000, 4_000
    values = b"a/" * (size // 2) * count
    path = tmp_path / "a.h5"
    path.write_bytes(hdf5_files.layer("a", hdf5_files.attribute("weight_names", hdf5_files.texts(size), count), values))
    layers: list[Any] = [{"class_name": "LSTM", "config": {"name": name}} for name in "bcd"]
    for _ in range(100):
        layers = [{"class_name": "", "config": {"name": "a", "layers": layers}}]
    code = "import json, sys; from numba_lstm.io import keras; keras.load(sys.argv[1], config=sys.argv[2])"
    processes.run(
        f"try:\n    {code}\nexcept ValueError as error:\n    assert 'no LSTM layer' in str(error), error",
        str(path),
        json.dumps({"class_name": "Sequential", "config": {"layers": layers}}),
    )
