"""Sphinx extension: equations are MathML, which browsers set themselves: no script, and no server of others."""
from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def inline(writer: Any, node: nodes.math) -> None:
    """Write ``:math:``."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    r"""Write ``.. math::``, whose lines end with ``\\`` and are aligned at ``&``."""
    latex = node.astext()
    if r"\\" in latex:
        latex = rf"\begin{{split}}{latex}\end{{split}}"
    writer.body.append(f'<div class="equation">{convert(latex, display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
