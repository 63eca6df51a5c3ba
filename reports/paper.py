"""Tables for a paper: Markdown and LaTeX, in which every text is only a text."""

from __future__ import annotations

import re
from typing import Literal

from reports.document import Cell, Table

Spread = Literal["interval", "plusminus"]

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+"
)  # control and direction marks
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~&$^!]")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
    "Δ": r"$\Delta$", "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "≤": r"$\leq$", "≥": r"$\geq$", "…": r"\dots{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$",
}  # fmt: skip


def markdown(table: Table, spread: Spread = "interval") -> str:
    """The table with its caption as GitHub's and Pandoc's Markdown; bold where the report is.

    Args:
        table: what to write.
        spread: ``interval`` writes ``mean [low, high]``; ``plusminus`` writes ``mean ± half of it`` where the interval
            is symmetric, as those over seeds are.

    Raises:
        ValueError: another spread.

    >>> print(markdown(Table("t", "Of _x_", ["a|b", "n"], [[Cell("<b>"), Cell("1", 1.0, strong=True)]])))
    Of \\_x\\_
    <BLANKLINE>
    | a\\|b | n |
    |:--|--:|
    | \\<b\\> | **1** |
    """
    rows = [table.columns, *([_written(cell, spread, "±") for cell in row] for row in table.rows)]
    strong = [[False] * len(table.columns), *([cell.strong for cell in row] for row in table.rows)]
    lines = [
        "| "
        + " | ".join(f"**{_markdown(t)}**" if b else _markdown(t) for t, b in zip(row, bold, strict=True))
        + " |"
        for row, bold in zip(rows, strong, strict=True)
    ]
    rule = "|" + "|".join([":--"] * table.labels + ["--:"] * (len(table.columns) - table.labels)) + "|"
    caption = re.sub(r"^(\d*)(?=[+.)-])", r"\1\\", _markdown(table.caption))  # else it might begin a list
    return "\n".join([caption, "", lines[0], rule, *lines[1:]])


def latex(table: Table, spread: Spread = "interval") -> str:
    r"""The table with its caption for LaTeX with the package booktabs; bold where the report is.

    Args:
        table, spread: as of `markdown`.

    Raises:
        ValueError: another spread.

    >>> print(latex(Table("t", "50%", ["a", "n"], [[Cell("x_1"), Cell("1", 1.0, strong=True)]])))
    \begin{table}
      \centering
      \caption{50\%}
      \label{tab:t}
      \begin{tabular}{lr}
        \toprule
        a & n \\
        \midrule
        x\_1 & \textbf{1} \\
        \bottomrule
      \end{tabular}
    \end{table}
    """
    heads = " & ".join(map(_latex, table.columns))
    rows = []
    for row in table.rows:
        texts = [_latex(_written(cell, spread, "±")) for cell in row]
        texts = [
            f"\\textbf{{{text}}}" if cell.strong else text for text, cell in zip(texts, row, strict=True)
        ]
        rows.append(f"    {' & '.join(texts)} \\\\")
    columns = "l" * table.labels + "r" * (len(table.columns) - table.labels)
    return "\n".join([
        r"\begin{table}", r"  \centering", f"  \\caption{{{_latex(table.caption)}}}",
        f"  \\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', table.key)}}}", f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule", f"    {heads} \\\\", r"    \midrule", *rows, r"    \bottomrule", r"  \end{tabular}",
        r"\end{table}",
    ])  # fmt: skip


def _written(cell: Cell, spread: Spread, sign: str) -> str:
    """What is shown, with ``mean ± half`` in place of the interval where it is asked for and symmetric."""
    if spread not in ("interval", "plusminus"):
        raise ValueError(f"spread must be interval or plusminus, got '{spread}'")
    if spread == "interval" or cell.value is None or cell.low is None or cell.high is None:
        return cell.text
    half = (cell.high - cell.low) / 2
    if abs(cell.low + half - cell.value) > 1e-6 * max(half, abs(cell.value)):
        return cell.text
    mean, _, _ = cell.text.partition(" [")
    digits = re.fullmatch(r"[+\-−]?[\d,]*(?:\.(\d+))?(%?)", mean)
    if digits is None:  # 1.2e-05
        return f"{mean} {sign} {half:.1e}"
    percent = digits.group(2)
    told = f"{half * (100 if percent else 1):.{len(digits.group(1) or '')}f}"
    return f"{mean.removesuffix('%')} {sign} {told}{percent}"


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", _UNSEEN.sub(" ", text).strip())


def _latex(text: str) -> str:
    text = re.sub(r"(?<!\w)-(?=\d)", "−", _UNSEEN.sub(" ", text).strip())  # a minus, not a hyphen
    return "".join(_LATEX.get(sign, sign) for sign in text)
