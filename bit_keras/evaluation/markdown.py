"""A document as Markdown."""

import re
import urllib.parse

from bit_keras.evaluation.document import (
    Bullets,
    Heading,
    Headline,
    Paragraph,
    Picture,
    Share,
    Table,
    Thumbnails,
)


def to_markdown(document):
    """Returns a `Document` as a Markdown text.

    Pictures are referred to by their files' relative paths.

    Example:

    >>> print(to_markdown(Document("2 * 3", [Paragraph("is 6.")])), end="")
    # 2 \\* 3
    <BLANKLINE>
    is 6.
    """
    parts = [f"# {_escape(document.title)}", *map(_block, document.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block):
    match block:
        case Heading(text):
            return f"## {_escape(text)}"
        case Headline(name, value, text, detail):
            name, value, text, detail = map(_escape, (name, value, text, detail))
            return f"**{name} {value}: {text}** ({detail})."
        case Paragraph(text):
            return _escape(text)
        case Bullets(texts):
            return "\n".join(f"- {_escape(text)}" for text in texts)
        case Picture():
            return _picture(block)
        case Table():
            return _table(block)
    raise TypeError(f"A document has no block like this one: {block!r}")


def _table(table):
    rule = ["---:" if i in table.numbers else "---" for i in range(len(table.heads))]
    rows = [map(_escape, table.heads), rule, *(map(_cell, row) for row in table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if table.caption:
        lines = [_escape(table.caption), "", *lines]
    return "\n".join(lines)


def _cell(cell):
    match cell:
        case Thumbnails(pictures):
            return " ".join(map(_picture, pictures))
        case Share(text):
            return _escape(text)
    return _escape(cell)


def _picture(picture):
    return f"![{_escape(picture.caption)}]({urllib.parse.quote(picture.file)})"


def _escape(text):
    """Returns a text in one line in which nothing is taken for Markdown."""
    text = " ".join(str(text).split())
    # Underscores mark emphasis only where they do not lie within a word.
    return re.sub(r"[\\`*~$&<>\[\]|]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
