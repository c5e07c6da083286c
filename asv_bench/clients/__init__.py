"""Programs of published packages, timed with torch's LSTMs and with ours: ``python -m asv_bench.clients``."""

from __future__ import annotations

from .. import report

PAGE = report.ROOT / "docs" / "bring_your_model.md"
