"""A document as one HTML file that needs nothing beside it."""

import base64
import importlib.resources
import pathlib
import struct
from html import escape

from bit_keras.errors import InputError
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

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
# Documents of fewer sections have no table of contents.
MIN_CONTENTS = 4
# CSS pixels for a pixel of a picture: letters of 8 points at 150 dots an inch are then
# nearly as large as the text around the picture.
PICTURE_SCALE = 0.8


def to_html(document, folder):
    """Returns a `Document` as an HTML page with its pictures and style within it.

    The page refers to nothing outside, and forbids the browser to load anything.

    Args:
        document: The `Document`.
        folder: The folder that the pictures' paths start from.

    Returns:
        The text of the page.

    Raises:
        InputError: If a picture cannot be read or is of another kind.
    """
    body = "\n".join(_Page(folder).parts(document))
    style = importlib.resources.files("bit_keras.evaluation") / "report.css"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(document.title)}</title>
<style>
{style.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


class _Page:
    """Writes the parts of a page.

    Args:
        folder: The folder that the pictures' paths start from.
    """

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)
        self._num_sections = 0

    def parts(self, document):
        """Yields title, contents and blocks."""
        yield f"<h1>{escape(document.title)}</h1>"
        headings = [b.text for b in document.blocks if isinstance(b, Heading)]
        if len(headings) >= MIN_CONTENTS:
            yield _contents(headings)
        for block in document.blocks:
            yield self._block(block)

    def _block(self, block):
        match block:
            case Heading(text):
                self._num_sections += 1
                return f'<h2 id="section-{self._num_sections}">{escape(text)}</h2>'
            case Headline():
                return _headline(block)
            case Paragraph(text):
                return f"<p>{escape(text)}</p>"
            case Bullets(texts):
                items = "".join(f"<li>{escape(text)}</li>" for text in texts)
                return f"<ul>{items}</ul>" if items else ""
            case Picture():
                return self._figure(block)
            case Table():
                return self._table(block)
        raise TypeError(f"A document has no block like this one: {block!r}")

    def _table(self, table):
        kinds = [_kind(table, column) for column in range(len(table.heads))]
        # Not within the table, with which it would scroll out of sight.
        caption = f'<p class="caption">{escape(table.caption or "")}</p>\n'
        heads = "".join(
            f'<th scope="col"{kind}>{escape(head)}</th>'
            for kind, head in zip(kinds, table.heads, strict=True)
        )
        # Where no column has a name, a row of empty cells says nothing.
        head = f"<thead><tr>{heads}</tr></thead>" if any(table.heads) else ""
        rows = "\n".join(self._row(row, kinds) for row in table.rows)
        # The box can be scrolled by the keyboard as well.
        return (
            f"{caption if table.caption else ''}"
            '<div class="scroll" tabindex="0"><table>\n'
            f"{head}\n<tbody>\n{rows}\n</tbody></table></div>"
        )

    def _row(self, row, kinds):
        cells = (
            f"<td{kind}>{self._cell(cell)}</td>"
            for kind, cell in zip(kinds, row, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    def _cell(self, cell):
        match cell:
            case Thumbnails(pictures):
                images = "".join(map(self._thumbnail, pictures))
                return f'<div class="thumbnails">{images}</div>'
            case Share(text, value):
                style = f"--share: {value:.4f}"
                return f'<div class="share" style="{style}">{escape(text)}</div>'
        return escape(str(cell))

    def _thumbnail(self, picture):
        caption = escape(picture.caption)
        source, _ = self._read(picture.file)
        return f'<img src="{source}" alt="{caption}" title="{caption}">'

    def _figure(self, picture):
        caption = escape(picture.caption)
        source, size = self._read(picture.file)
        return (
            f'<figure><div class="scroll" tabindex="0">'
            f'<img src="{source}" alt="{caption}"{size}></div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )

    def _read(self, file):
        """Returns a picture's file as an address, and the attributes of its size."""
        path = self._folder / file
        kind = MEDIA_TYPES.get(path.suffix.lower())
        if kind is None:
            raise InputError(
                f"Pictures in a report are {', '.join(MEDIA_TYPES)}. Received: {path}"
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"The picture {path} of a report cannot be read "
                f"({error.strerror or error}); give the folder that it lies in."
            ) from error
        encoded = base64.b64encode(content).decode()
        return f"data:{kind};base64,{encoded}", _size_attributes(content)


def _headline(headline):
    fields = (
        ("name", headline.name),
        ("value", headline.value),
        ("text", headline.text),
        ("detail", headline.detail),
    )
    # Spaces between them are for those who copy or hear it.
    lines = " ".join(
        f'<span class="{field}">{escape(text)}</span>' for field, text in fields
    )
    return f'<p class="headline">{lines}</p>'


def _kind(table, column):
    """Returns the attribute for the cells of a column that the style distinguishes."""
    if column in table.numbers:
        return ' class="number"'
    if any(isinstance(row[column], Thumbnails) for row in table.rows):
        return ' class="pictures"'
    return ""


def _contents(headings):
    items = "".join(
        f'<li><a href="#section-{number}">{escape(text)}</a></li>'
        for number, text in enumerate(headings, start=1)
    )
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _size_attributes(content):
    """Returns the attributes of a PNG file's size; nothing for other files."""
    if not content.startswith(b"\x89PNG"):
        return ""
    width, height = struct.unpack(">II", content[16:24])
    shown = round(width * PICTURE_SCALE)
    return f' width="{width}" height="{height}" style="--width: {shown}px"'
