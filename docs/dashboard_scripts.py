"""Put the scripts that asv's dashboard loads from other servers beside it: ``dashboard_scripts.py FOLDER``.

They come from npm, and are what the page names: by the checksum that the page itself has, or, where npm has only
another edition or a later version of it, by the one that stands here.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SOURCES = {
    "jquery-3.3.1.min.js": ("jquery@3.3.1", "dist/jquery.min.js"),
    "jquery.flot.min.js": ("flot@0.8.3", "jquery.flot.js"),
    "jquery.flot.time.min.js": ("flot@0.8.3", "jquery.flot.time.js"),
    "jquery.flot.selection.min.js": ("flot@0.8.3", "jquery.flot.selection.js"),
    "jquery.flot.categories.min.js": ("flot@0.8.3", "jquery.flot.categories.js"),
    "jquery.flot.orderBars.js": ("flot-orderbars@1.0.0", "js/jquery.flot.orderBars.js"),
    "stupidtable.min.js": ("stupid-table-plugin@1.1.3", "stupidtable.min.js"),
    "md5.min.js": ("blueimp-md5@2.19.0", "js/md5.min.js"),
    "bootstrap.min.js": ("bootstrap@3.1.1", "dist/js/bootstrap.min.js"),
    "bootstrap.min.css": ("bootstrap@3.1.1", "dist/css/bootstrap.min.css"),
}
"""Package and file of npm for the last part of an address."""

CHECKSUMS = {
    "stupidtable.min.js": "sha256-RkI4Dyjr6e18rCUXk7KB74YgxDhiBdkniPmxL1zOtOA=",
    "jquery.flot.min.js": "sha256-t7kx8nPDixJ3ucbB9OBcTsCYhaSHvdrzJ54tfkmjjhI=",
    "jquery.flot.time.min.js": "sha256-pYLIMq3HE4prBar2HxbrrCdHAfG+Sv6nfnOaHDS5xBo=",
    "jquery.flot.selection.min.js": "sha256-5shfbB6+S02inYriOMfFBgKD8F9+8FT2uRgX0CwJKRg=",
    "jquery.flot.categories.min.js": "sha256-boFmSyjqeVxzSQb0qhVhRkCnWsf705mn+5CEBAaYNRo=",
}
"""Of files that are another edition, such as one with its line breaks."""

LINK = re.compile(r'(src|href)="(https://[^"]+\.(?:js|css))"(\s+)integrity="([^"]+)"')


def checksum(content: bytes, kind: str) -> str:
    """Return a checksum as pages have it."""
    return f"{kind}-{base64.b64encode(hashlib.new(kind, content).digest()).decode()}"


def fetched(package: str, file: str, folder: Path) -> bytes:
    """Return a file of a package of npm."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), package]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        member = archive.extractfile(f"package/{file}")
        assert member is not None
        return member.read()


def main(dashboard: Path) -> None:
    """Fetch what the page links to, and change its links."""
    page = dashboard / "index.html"
    vendor = dashboard / "vendor"
    vendor.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:

        def local(link: re.Match[str]) -> str:
            attribute, address, space, integrity = link.groups()
            name = address.rpartition("/")[2]
            package, file = SOURCES[name]
            content = fetched(package, file, Path(folder))
            wanted = CHECKSUMS.get(name, integrity)
            found = checksum(content, wanted.partition("-")[0])
            if found != wanted:
                raise SystemExit(f"{package} {file}: {found}, should be {wanted}")
            (vendor / name).write_bytes(content)
            return f'{attribute}="vendor/{name}"{space}integrity="{wanted}"'

        text = LINK.sub(local, page.read_text(encoding="utf-8"))
    if len(list(vendor.iterdir())) != len(SOURCES):
        raise SystemExit("this asv's page has other scripts: look at SOURCES")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
