"""Charts as SVG: told in words, hover values, ids of their own, the same bytes."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib import rc_context

from reports.charts.style import STYLE, looks, panel, short
from reports.charts.svg import hover, svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(
    prefix: str = "chart-a", text: str = "a, seed 0: 81%", variant: str = "a<b", title: str = "Title"
) -> str:
    with rc_context(STYLE):
        figure, axes = panel(2)
        (line,) = axes.plot([0, 1], [0, 1])
        axes.plot([0, 1], [1, 0], "o")
        axes.set_title('id="x" <g> & $y$')
        hover(line, text, variant)
        return svg(figure, prefix, title, "what it shows", ["other", "a<b"])


def test_it_has_a_title_and_a_description() -> None:
    root = ElementTree.fromstring(drawn())
    assert root.attrib["role"] == "img"
    title, description = root[0], root[1]
    assert (title.tag, title.text) == (f"{SVG}title", "Title")
    assert (description.tag, description.text) == (f"{SVG}desc", "what it shows")
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"


@pytest.mark.parametrize("text", ["a, seed 0: 81%", "<script>&\"'", "\u05e9 \u4e2d \x00", "--> ]]>"])
def test_marks_tell_their_value_and_their_variant(text: str) -> None:
    root = ElementTree.fromstring(drawn(text=text))
    (mark,) = root.findall(f".//{SVG}g[@data-variant]")
    assert mark.attrib["data-variant"] == "1"
    assert mark[0].tag == f"{SVG}title"
    assert mark[0].text == text.replace("\x00", "␀")


def test_text_stays_text() -> None:
    root = ElementTree.fromstring(drawn())
    assert 'id="x" <g> & $y$' in [element.text for element in root.iter(f"{SVG}text")]


def test_ids_are_its_own_and_every_reference_resolves() -> None:
    texts = [drawn("chart-a"), drawn("chart-b")]
    ids = [re.findall(r'\bid="([^"]*)"', re.sub(r">[^<]*<", "><", text)) for text in texts]
    assert not set(ids[0]) & set(ids[1])
    for text, known in zip(texts, ids, strict=True):
        used = re.findall(r'(?:url\(#|href="#)([^")]+)', text)
        assert used
        assert set(used) <= set(known)
        assert len(known) == len(set(known))


def test_the_same_figure_gives_the_same_bytes_and_little_of_them() -> None:
    assert drawn() == drawn()
    assert len(drawn()) < 8000
    assert "<style" not in drawn()  # it would reach all of the page


def test_forty_variants_stay_apart_and_long_names_short() -> None:
    assert len(set(looks([f"v{i}" for i in range(35)]).values())) == 35
    assert short("a\x00b") == "a␀b"
    assert len(short("x" * 10_000)) == 22
