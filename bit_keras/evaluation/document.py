"""What a report consists of, before it is Markdown or HTML.

A report is made from its JSON alone: a function returns its `Document`, and
`markdown.to_markdown` and `html.to_html` write it. All texts are plain; whatever has a
meaning in either language is escaped there.
"""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Heading:
    """The title of a section."""

    text: str


@dataclasses.dataclass(frozen=True)
class Headline:
    """The one figure that a reader looks for, such as "Accuracy 62.5 %".

    Args:
        name: What it is of.
        value: The figure.
        text: What it means, such as the counts behind it.
        detail: What qualifies it, such as a confidence interval.
    """

    name: str
    value: str
    text: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list of texts, of which there may be none."""

    texts: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file with its caption.

    Args:
        caption: Also what is read out in place of the picture.
        file: Path of a `.png`, `.jpg` or `.svg` file, relative to the report's folder.
    """

    caption: str
    file: str


@dataclasses.dataclass(frozen=True)
class Thumbnails:
    """Small pictures side by side: a cell of a table."""

    pictures: Sequence[Picture]


@dataclasses.dataclass(frozen=True)
class Share:
    """A share with a bar of its length: a cell of a table.

    Args:
        text: The share in words.
        value: 0 to 1.
    """

    text: str
    value: float


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells.

    Args:
        heads: The texts above the columns.
        rows: As many cells for each row: texts, `Share`s or `Thumbnails`.
        numbers: Which columns hold numbers, which are aligned to the right.
        caption: A sentence about it, or `None`.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str | Share | Thumbnails]]
    numbers: Sequence[int] = ()
    caption: str | None = None


@dataclasses.dataclass(frozen=True)
class Document:
    """A whole report.

    Args:
        title: The report's title.
        blocks: What follows it: objects of the classes above that are no cells.
    """

    title: str
    blocks: Sequence[Heading | Headline | Paragraph | Bullets | Picture | Table]
