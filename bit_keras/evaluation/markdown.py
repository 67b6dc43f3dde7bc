"""The report of a run as Markdown, made from nothing but its JSON."""

import re
import urllib.parse

MAX_CLASS_ROWS = 100
MAX_CONFUSION_ROWS = 10


def render_markdown(report):
    """Returns the report as a Markdown text.

    Args:
        report: The contents of `report.json`, as `write_report` makes them.
    """
    evaluation = report["evaluation"]
    parts = [
        f"# {escape(report['title'])}",
        *_headline(evaluation, report["split"]),
        "\n".join(f"- {escape(note)}" for note in report["notes"]),
        *(picture(**entry) for entry in report["pictures"]),
        "## Settings",
        _settings(report),
        "## Classes",
        *_classes(evaluation),
        *_confusions(evaluation),
        "## Run",
        describe_run(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(evaluation, split):
    """Returns the paragraphs that give the result."""
    total, classes = evaluation["num_examples"], evaluation["num_classes"]
    low, high = (_percent(bound, total) for bound in evaluation["top1_interval"])
    yield (
        f"**Accuracy {_percent(evaluation['top1'], total)}: "
        f"{evaluation['num_correct']:,} of {total:,} {escape(split)} images right** "
        f"(95 % confidence interval {low} to {high}, Wilson)."
    )
    # Among five classes or fewer the true one is always in the first five.
    top5 = (
        f"Top-5 accuracy {_percent(evaluation['top5'], total)} "
        f"({evaluation['num_correct_top5']:,} of {total:,}). "
    )
    yield (
        f"{top5 if classes > 5 else ''}Mean cross-entropy {evaluation['loss']:.4f}, "
        f"expected calibration error {100 * evaluation['calibration']['error']:.1f} %."
    )


def picture(caption, file):
    """Returns a picture with its caption as the alternative text."""
    return f"![{escape(caption)}]({urllib.parse.quote(file)})"


def _settings(report):
    """Returns one table of what was run, on what and how."""
    rows = []
    for part in ("model", "data", "recipe"):
        for i, (key, value) in enumerate(report[part].items()):
            rows.append(
                ("" if i else part, key.replace("_", " "), describe_value(value))
            )
    return table(("", "Setting", "Value"), rows)


def _classes(evaluation):
    """Returns the table of classes, the least accurate first."""
    # Classes without examples have no accuracy and come last; of equal accuracy the one
    # with more examples comes first.
    classes = sorted(
        evaluation["classes"],
        key=lambda c: (c["accuracy"] is None, c["accuracy"] or 0, -c["count"]),
    )
    if len(classes) > MAX_CLASS_ROWS:
        yield (
            f"The {MAX_CLASS_ROWS} least accurate of {len(classes):,}; all of them are "
            "in `report.json`."
        )
    rows = [
        (
            c["name"],
            f"{c['correct']:,} of {c['count']:,}",
            _percent(c["accuracy"], c["count"]),
        )
        for c in classes[:MAX_CLASS_ROWS]
    ]
    yield table(("Class", "Right", "Accuracy"), rows, numbers=(1, 2))


def _confusions(evaluation):
    """Returns the most frequent errors, if there are any."""
    if not evaluation["confusions"]:
        return
    rows = [
        (pair["true"], pair["predicted"], f"{pair['count']:,}")
        for pair in evaluation["confusions"][:MAX_CONFUSION_ROWS]
    ]
    yield "## Most frequent confusions"
    yield table(("True class", "Taken for", "Images"), rows, numbers=(2,))


def describe_run(report):
    """Returns the table of times, seed and versions."""
    timings, environment = dict(report["timings"]), report["environment"]
    if len(timings) > 1:
        timings["total"] = sum(timings.values())
    rows = [
        (f"time, {name}", describe_duration(time)) for name, time in timings.items()
    ]
    rows.append(("date", report["created"]))
    rows.append(("seed", "–" if report["seed"] is None else str(report["seed"])))
    rows += environment.items()
    return table(("", ""), rows)


def table(heads, rows, numbers=()):
    """Returns a table; the columns `numbers` are aligned to the right."""
    rule = ["---:" if i in numbers else "---" for i in range(len(heads))]
    lines = [heads, rule, *(map(escape, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text):
    """Returns a text in one line in which nothing is taken for Markdown."""
    text = " ".join(str(text).split())
    # Underscores mark emphasis only where they do not lie within a word.
    return re.sub(r"[\\`*~$&<>\[\]|]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def describe_value(value):
    """Words a setting's value."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(describe_value, value))
    if isinstance(value, dict):
        return ", ".join(
            f"{key}: {describe_value(item)}" for key, item in value.items()
        )
    return value


def _percent(share, total):
    """Words a share, with a second decimal where there are examples enough for it."""
    return "–" if share is None else f"{100 * share:.{1 if total < 1000 else 2}f} %"


def describe_duration(seconds):
    """Words a time, with two units at most."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
