import pytest

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
from bit_keras.evaluation.markdown import to_markdown


def test_all_blocks():
    blocks = [
        Headline("Accuracy", "62.5 %", "5 of 8", "30 % to 86 %"),
        Paragraph("One *word*\nand another."),
        Bullets([]),
        Bullets(["first", "<second>"]),
        Picture("A [plot]", "plots/loss (1).png"),
        Heading("a|b"),
        Table(
            ("Class", "Right"), [("x|y", Share("1", 0.5)), ("`z`", "2")], numbers=(1,)
        ),
        Table(("", "Images"), [("a", Thumbnails([Picture("b", "c d.jpg")] * 2))]),
        Table(("One",), [("1",)], caption="Only one_."),
    ]
    assert to_markdown(Document("2 * 3", blocks)) == (
        "# 2 \\* 3\n\n"
        "**Accuracy 62.5 %: 5 of 8** (30 % to 86 %).\n\n"
        "One \\*word\\* and another.\n\n"
        "- first\n- \\<second\\>\n\n"
        "![A \\[plot\\]](plots/loss%20%281%29.png)\n\n"
        "## a\\|b\n\n"
        "| Class | Right |\n| --- | ---: |\n| x\\|y | 1 |\n| \\`z\\` | 2 |\n\n"
        "|  | Images |\n| --- | --- |\n| a | ![b](c%20d.jpg) ![b](c%20d.jpg) |\n\n"
        "Only one\\_.\n\n| One |\n| --- |\n| 1 |\n"
    )


def test_what_is_no_block_is_refused():
    with pytest.raises(TypeError, match="has no block like this one: 'text'"):
        to_markdown(Document("T", ["text"]))
