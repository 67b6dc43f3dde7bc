"""What the report of an evaluation says, with or without a training before it."""

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
from bit_keras.evaluation.report_parts import (
    describe_share,
    run_table,
    settings_table,
)

MAX_CLASS_ROWS = 100
MAX_CONFUSION_ROWS = 10


def report_document(report):
    """Returns the report as a `Document`, made from nothing but its JSON.

    Args:
        report: The contents of `report.json`, as `write_report` makes them.
    """
    evaluation = report["evaluation"]
    parts = ((part, report[part]) for part in ("model", "data", "recipe"))
    blocks = [
        *_result(evaluation, report["split"]),
        Bullets(report["notes"]),
        *_confusions(evaluation["confusions"], report["examples"]),
        Heading("Pictures"),
        *(Picture(**entry) for entry in report["pictures"]),
        Heading("Classes"),
        _classes(evaluation),
        Heading("Settings"),
        settings_table(parts),
        Heading("Run"),
        run_table(report),
    ]
    return Document(report["title"], blocks)


def _result(evaluation, split):
    """Yields what gives the result."""
    total, classes = evaluation["num_examples"], evaluation["num_classes"]
    low, high = (describe_share(x, total) for x in evaluation["top1_interval"])
    yield Headline(
        "Accuracy",
        describe_share(evaluation["top1"], total),
        f"{evaluation['num_correct']:,} of {total:,} {split} images right",
        f"95 % confidence interval {low} to {high}, Wilson",
    )
    # Among five classes or fewer the true one is always in the first five.
    top5 = (
        f"Top-5 accuracy {describe_share(evaluation['top5'], total)} "
        f"({evaluation['num_correct_top5']:,} of {total:,}). "
    )
    yield Paragraph(
        f"{top5 if classes > 5 else ''}Mean cross-entropy {evaluation['loss']:.4f}, "
        f"expected calibration error {100 * evaluation['calibration']['error']:.1f} %."
    )


def _confusions(pairs, examples):
    """Yields the most frequent errors, if there are any, with images if there are."""
    if not pairs:
        return
    yield Heading("Most frequent confusions")
    heads = ("True class", "Taken for", "Images")
    rows = [
        (pair["true"], pair["predicted"], f"{pair['count']:,}")
        for pair in pairs[:MAX_CONFUSION_ROWS]
    ]
    if not examples:
        yield Table(heads, rows, numbers=(2,))
        return
    rows = [
        (*row, Thumbnails([_thumbnail(**example) for example in ours]))
        for row, ours in zip(rows, examples, strict=True)
    ]
    caption = "The images are those of which the model was most sure."
    yield Table((*heads, "Surest errors"), rows, numbers=(2,), caption=caption)


def _thumbnail(number, confidence, file):
    return Picture(f"Image {number:,}, {100 * confidence:.0f} % sure", file)


def _classes(evaluation):
    """Returns the table of classes, the least accurate first."""
    # Classes without examples have no accuracy and come last; of equal accuracy the one
    # with more examples comes first.
    classes = sorted(
        evaluation["classes"],
        key=lambda c: (c["accuracy"] is None, c["accuracy"] or 0, -c["count"]),
    )
    rows = [
        (
            c["name"],
            f"{c['correct']:,} of {c['count']:,}",
            _accuracy(c),
        )
        for c in classes[:MAX_CLASS_ROWS]
    ]
    left_out = len(classes) > MAX_CLASS_ROWS
    caption = (
        f"The {MAX_CLASS_ROWS} least accurate of {len(classes):,}; all of them are in "
        "report.json."
    )
    heads = ("Class", "Right", "Accuracy")
    return Table(heads, rows, numbers=(1, 2), caption=caption if left_out else None)


def _accuracy(facts):
    """Returns the cell of a class's accuracy."""
    text = describe_share(facts["accuracy"], facts["count"])
    return text if facts["accuracy"] is None else Share(text, facts["accuracy"])
