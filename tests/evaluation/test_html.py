import base64
import html.parser
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.evaluation.document import (
    Bullets,
    Document,
    Heading,
    Headline,
    Paragraph,
    Picture,
    Share,
    Table,
    Thumbnails,
)
from bit_keras.evaluation.html import to_html

SCRIPT = "<script>alert('1')</script>"
# All elements and attributes that a page may have.
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "nav", "div", "span"),
    *("h1", "h2", "p", "ul", "li", "a", "figure", "figcaption", "img"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "id", "class", "style"),
    *("href", "src", "alt", "title", "width", "height"),
    *("scope", "tabindex", "aria-label"),
}
VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """What a browser finds: elements as (tag, attributes, text), in their order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        self.close()
        assert not self._open, "each tag is closed"

    def handle_starttag(self, tag, attributes):
        element = [tag, dict(attributes), ""]
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2] += data

    def all(self, tag, part=1):
        """Returns the attributes (1) or texts (2) of all elements of a kind."""
        return [element[part] for element in self.elements if element[0] == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with a picture of 300 x 150 pixels, and two small ones."""
    from matplotlib.figure import Figure

    folder = tmp_path_factory.mktemp("report")
    figure = Figure(figsize=(2, 1))
    with (folder / "plot.png").open("wb") as file:
        figure.savefig(file, format="png", dpi=150)
    (folder / "a b").mkdir()
    (folder / "a b" / "1.jpg").write_bytes(b"\xff\xd8 one")
    (folder / "a b" / "2.svg").write_bytes(b"<svg/>")
    return folder


THUMBNAILS = Thumbnails([Picture("cat, 97 %", "a b/1.jpg"), Picture("", "a b/2.svg")])


def example(text):
    """Returns a document with a text in every place."""
    return Document(
        text,
        [
            Headline(text, text, text, text),
            Paragraph(text),
            Bullets([text, text]),
            Bullets([]),
            Picture(text, "plot.png"),
            *(Heading(text) for _ in range(4)),
            Table([text, text], [[text, Thumbnails([Picture(text, "plot.png")])]]),
            Table([text], [[text]], numbers=[0], caption=text + "."),
            Table([text], [[Share(text, 0.5)]], numbers=[0]),
        ],
    )


@given(st.text(max_size=20) | st.sampled_from([SCRIPT, '" onload="x', "</title>&lt;"]))
@settings(max_examples=25, deadline=None)
def test_no_text_is_taken_for_html(folder, text):
    page = Page(to_html(example(text), folder))
    for tag, attributes, _ in page.elements:
        assert tag in TAGS and attributes.keys() <= ATTRIBUTES
    expected = {"title": 1, "h1": 1, "h2": 4, "span": 4, "p": 3, "li": 6, "a": 4}
    expected |= {"td": 4, "div": 6, "figcaption": 1, "img": 2}
    assert {tag: len(page.all(tag)) for tag in expected} == expected
    for tag in ("title", "h1", "h2", "span", "a", "figcaption"):
        assert set(page.all(tag, 2)) == {text}, tag
    assert page.all("th", 2) == [text] * 4 * bool(text)
    assert page.all("td", 2) == [text, "", text, ""]
    assert page.all("div", 2)[-1] == text
    assert page.all("p", 2)[1:] == [text, text + "."]
    assert [image["alt"] for image in page.all("img")] == [text, text]
    assert [image.get("title") for image in page.all("img")] == [None, text]


def test_pictures_are_in_the_page_and_nothing_is_loaded(folder):
    blocks = [Picture("A plot", "plot.png"), Table(["Images"], [[THUMBNAILS]])]
    text = to_html(Document("T", blocks), folder)
    page = Page(text)
    plot, *small = page.all("img")
    for image, kind, name in (
        (plot, "png", "plot.png"),
        (small[0], "jpeg", "a b/1.jpg"),
        (small[1], "svg+xml", "a b/2.svg"),
    ):
        head, _, content = image["src"].partition(",")
        assert head == f"data:image/{kind};base64"
        assert base64.b64decode(content) == (folder / name).read_bytes()
    # 300 pixels at 150 dots an inch are 2 inches.
    assert (plot["width"], plot["height"]) == ("300", "150")
    assert plot["style"] == "--width: 240px"
    assert small[0]["alt"] == "cat, 97 %"
    assert not re.search(r"https?:|//\w|url\(|@import|<link|<script", text)
    policy = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    ]


def test_a_browser_is_told_what_the_page_is(folder):
    text = to_html(Document("Pears & plums", []), folder)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset=')
    page = Page(text)
    metas = {meta.get("name"): meta["content"] for meta in page.all("meta")[1:]}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["color-scheme"] == "light dark"
    assert page.all("title", 2) == ["Pears & plums"]
    for rule in ("prefers-color-scheme: dark", "@media print", "overflow-x: auto"):
        assert rule in page.all("style", 2)[0]


def test_long_documents_have_contents_that_lead_to_their_sections(folder):
    names = ["One", "Two", "Three", "Four"]
    page = Page(to_html(Document("T", [Heading(name) for name in names]), folder))
    sections = {e["id"]: name for e, name in zip(page.all("h2"), names, strict=True)}
    links = [link["href"].removeprefix("#") for link in page.all("a")]
    assert [sections[link] for link in links] == page.all("a", 2) == names
    short = Page(to_html(Document("T", [Heading(n) for n in names[:3]]), folder))
    assert short.all("a") == short.all("nav") == []


def test_tables_scroll_by_themselves_with_numbers_to_the_right(folder):
    table = Table(("Class", "Right", "Share"), [("a", "1", "2 %")], numbers=range(1, 3))
    page = Page(to_html(Document("T", [table]), folder))
    for tag in ("th", "td"):
        kinds = [cell.get("class") for cell in page.all(tag)]
        assert kinds == [None, "number", "number"]
    assert page.all("th", 2) == ["Class", "Right", "Share"]
    tags = [element[0] for element in page.elements]
    box = page.elements[tags.index("table") - 1]
    assert (box[0], box[1]) == ("div", {"class": "scroll", "tabindex": "0"})
    assert "p" not in tags
    nameless = to_html(Document("T", [Table(("", ""), [("a", "b")])]), folder)
    assert "<td>a</td>" in nameless and "<th" not in nameless


def test_shares_have_bars_of_their_length(folder):
    rows = [[Share("33.3 %", 1 / 3)], [Share("100 %", 1.0)], ["–"]]
    page = Page(to_html(Document("T", [Table(["Right"], rows, numbers=[0])]), folder))
    _, *bars = page.all("div")
    assert [bar["style"] for bar in bars] == ["--share: 0.3333", "--share: 1.0000"]
    assert page.all("div", 2)[1:] == ["33.3 %", "100 %"]
    assert page.all("td", 2) == ["", "", "–"]


def test_pictures_that_cannot_be_shown_are_an_input_error(folder):
    for name, message in {
        "gone.png": "gone.png of a report cannot be read \\(No such file",
        "plot.gif": "Pictures in a report are .png, .jpg, .svg. Received: .*plot.gif",
    }.items():
        with pytest.raises(InputError, match=message):
            to_html(Document("T", [Picture("Lost", name)]), folder)


@pytest.mark.parametrize("block", [THUMBNAILS, "text"])
def test_what_is_no_block_is_refused(folder, block):
    with pytest.raises(TypeError, match="has no block like this one"):
        to_html(Document("T", [block]), folder)
