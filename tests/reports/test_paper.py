"""Tables for a paper: whatever a name holds, it is text in Markdown and in LaTeX."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reports
from reports.document import Cell, Report, Section, Table
from reports.paper import latex, markdown

HOSTILE = r"a|b*_`<script>[x](y)\ $x^2$ & 5% #1 ~{}" + '"\u202e\x07\n\\\\end{table}'


def table(name: str = "equal", caption: str = "Scores", **cell: object) -> Table:
    number = Cell("95.7% [94.0, 97.4]", 0.957, 0.94, 0.974, 3, strong=True)
    return Table("scores", caption, ["variant", name], [[Cell(name), number]])


def test_markdown_shows_hostile_text_as_text() -> None:
    to_html = pytest.importorskip("markdown").markdown
    html = to_html(markdown(table(HOSTILE, HOSTILE)), extensions=["tables"])
    assert html.count("<td") == 2
    assert html.count("<th") == 3  # thead and two cells
    assert not re.search(r"<(script|a|em|code|img)\b", html)
    assert html.count("<strong>") == 1
    assert "95.7% [94.0, 97.4]" in html
    assert html.count("&lt;script&gt;[x](y)") == 3


@given(st.text(alphabet=st.sampled_from(list("ab|\\`*_<>[]()#+-.!~&$^{}\n\r\t 1.")), max_size=30))
def test_a_markdown_table_keeps_its_cells_whatever_a_name_holds(name: str) -> None:
    lines = markdown(table(name, "c")).split("\n")
    assert len(lines) == 5
    for line in lines[2:]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3


def test_a_caption_is_no_list() -> None:
    to_html = pytest.importorskip("markdown").markdown
    for caption in ("1. one", "2) two", "- three", "+ four", "# five", "* six", "> seven"):
        assert re.search(r"<(li|h1|blockquote)", to_html(caption)) or ")" in caption
        assert not re.search(r"<(li|h1|blockquote)", to_html(markdown(table(caption=caption))))


def tokens(text: str) -> str:
    """What LaTeX reads as markup: the text without escaped signs and without the commands that stand for signs."""
    text = re.sub(r"\\(textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|textquotedbl"
                  r"|textasciigrave|dots)\{\}", "", text)  # fmt: skip
    return re.sub(r"\\[{}$&#%_]", "", text)


@given(st.text(alphabet=st.sampled_from(list('ab\\{}$&#%_^~<>|"`[]-\n\r\x00 1Δ±')), max_size=30))
def test_latex_holds_no_markup_of_a_name(name: str) -> None:
    plain, hostile = (latex(table(text, text)) for text in ("x", name))
    assert len(hostile.split("\n")) == len(plain.split("\n"))
    inside = tokens(hostile)
    assert inside.count("&") == 2  # one a row
    assert inside.count("{") == inside.count("}")
    assert not set("#_^~%|") & set(inside)
    assert inside.count("$") % 2 == 0
    assert set(re.findall(r"\\[A-Za-z]+", inside)) <= {
        r"\begin", r"\end", r"\centering", r"\caption", r"\label", r"\toprule", r"\midrule", r"\bottomrule",
        r"\textbf", r"\Delta", r"\pm",
    }  # fmt: skip


def test_latex_of_signs_that_mean_something() -> None:
    rows = [[Cell("[x]"), Cell("-1.5% [-2.0, 0.5]", -0.015)], [Cell("a-b"), Cell("Δ 1e-05", 1e-5)]]
    text = latex(Table("t", "50 % of $x$", ["n", "m ↑"], rows))
    assert r"    {[}x{]} & $-$1.5\% {[}$-$2.0, 0.5{]} \\" in text  # a [ after \\ would be read as its option
    assert r"    a-b & $\Delta$ 1e-05 \\" in text
    assert r"\caption{50 \% of \$x\$}" in text
    assert r"\begin{tabular}{lr}" in text
    assert r"n & m $\uparrow$ \\" in text


@pytest.mark.parametrize(("cell", "told"), [
    (Cell("95.7% [94.0, 97.4]", 0.957, 0.94, 0.974), "95.7 ± 1.7%"),
    (Cell("+1.25 [0.75, 1.75]", 1.25, 0.75, 1.75), "+1.25 ± 0.50"),
    (Cell("-1,234 [-1,300, -1,168]", -1234.0, -1300.0, -1168.0), "-1,234 ± 66"),
    (Cell("1.2e-05 [1.0e-05, 1.4e-05]", 1.2e-5, 1e-5, 1.4e-5), "1.2e-05 ± 2.0e-06"),
    (Cell("50.0% [40.0, 80.0]", 0.5, 0.4, 0.8), r"50.0% \[40.0, 80.0\]"),  # not symmetric: stays
    (Cell("0.5 (one seed: no interval)", 0.5), "0.5 (one seed: no interval)"),
])  # fmt: skip
def test_plus_and_minus_where_the_interval_is_symmetric(cell: Cell, told: str) -> None:
    text = markdown(Table("t", "", ["a", "b"], [[Cell("x"), cell]]), spread="plusminus")
    assert text.split("\n")[-1] == f"| x | {told} |"


def test_methods_of_the_report_and_their_mistakes() -> None:
    report = Report("r", "", "", "en", [], [], [Section("scores", "S", tables=[table()])])
    assert report.markdown("scores") == markdown(table())
    assert report.latex("scores", spread="plusminus") == latex(table(), "plusminus")
    assert r"\textbf{95.7 $\pm$ 1.7\%}" in report.latex("scores", spread="plusminus")
    with pytest.raises(KeyError, match="no table 'score' in this report; known: scores"):
        report.markdown("score")
    with pytest.raises(ValueError, match="spread must be interval or plusminus, got 'both'"):
        report.latex("scores", spread="both")  # type: ignore[arg-type]
    assert reports.Report is Report
