"""Make the data of numba_lstm/demo from the full set, ../shared/data/metapredict.

    python tools/make_demo_data.py ../shared/data/metapredict

120 of the 500 proteins are taken evenly over their lengths, from the shortest to the longest, and keep their
order.  Weights and licence are copied as they are.  The same input gives the same files, byte for byte.
"""
from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

COUNT = 120
TARGET = Path(__file__).parents[1] / "numba_lstm" / "demo"


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    source = parser.parse_args().source

    records = [">" + text for text in (source / "proteins.fasta").read_text().split(">")[1:]]
    with np.load(source / "expected_v3.npz") as arrays:
        lengths, scores = arrays["lengths"], arrays["scores"]
    if len(records) != len(lengths) or len(scores) != lengths.sum():
        raise SystemExit("proteins and scores do not belong together")

    by_length = np.argsort(lengths, kind="stable")
    chosen = np.sort(by_length[np.linspace(0, len(lengths) - 1, COUNT).round().astype(int)])
    profiles = np.split(scores, np.cumsum(lengths)[:-1])

    (TARGET / "proteins.fasta").write_text("".join(records[i] for i in chosen))
    kept = np.concatenate([profiles[i] for i in chosen])
    np.savez_compressed(TARGET / "expected_v3.npz", scores=kept, lengths=lengths[chosen])
    shutil.copyfile(source / "metapredict_v3.safetensors", TARGET / "metapredict_v3.safetensors")
    shutil.copyfile(source / "LICENSE", TARGET / "LICENSE")
    print(f"{len(chosen)} proteins, {lengths[chosen].sum()} residues of {lengths.sum()}")


if __name__ == "__main__":
    main()
