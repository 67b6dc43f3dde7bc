"""The report of a few-shot evaluation, for people and for programs."""

import pathlib

import numpy as np

from bit_keras.evaluation.document import (
    Bullets,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from bit_keras.evaluation.fewshot_plot import accuracy_by_examples
from bit_keras.evaluation.report import (
    created_now,
    describe_environment,
    list_pictures,
    write_both,
)
from bit_keras.evaluation.report_parts import run_table, settings_table

SCHEMA = 1
PICTURE_FILE = "fewshot.png"


def summarize(num_correct, num_test, **subject):
    """Returns the figures of one model on subsets of one size.

    Args:
        num_correct: Number of right test images after each subset, by seed.
        num_test: Number of test images.
        **subject: What they are of: `model`, `dataset`, `method`, `setting` (one line)
            and `examples_per_class`; and `chance`, what guessing would get right.

    Returns:
        A dict of JSON's types; median, least and most as in the paper's figures.
    """
    accuracies = [count / num_test for count in num_correct]
    return {
        **subject,
        "num_correct": list(num_correct),
        "num_test": num_test,
        "accuracies": accuracies,
        "median": float(np.median(accuracies)),
        "min": min(accuracies),
        "max": max(accuracies),
    }


def write_fewshot_report(
    out_dir, results, *, models, datasets, settings, notes, timings
):
    """Writes `report.json`, `report.md`, `report.html` and `fewshot.png`.

    Args:
        out_dir: Folder to write into; it is made where it is missing.
        results: What `summarize` returns, a list.
        models: Mapping of names to what describes each model.
        datasets: Mapping of names to what describes each set.
        settings: Mapping of what holds for all.
        notes: Sentences that a reader should know.
        timings: Mapping of parts of the run to seconds.

    Returns:
        The four paths, (JSON, Markdown, HTML, picture).
    """
    out_dir = pathlib.Path(out_dir)
    image = out_dir / PICTURE_FILE
    accuracy_by_examples(results, image)
    report = {
        "schema": SCHEMA,
        "title": "Few-shot accuracy",
        "created": created_now(),
        "notes": notes,
        "results": results,
        "models": models,
        "datasets": datasets,
        "settings": settings,
        "seed": ", ".join(map(str, settings["seeds"])),
        "timings": timings,
        "environment": describe_environment(),
        "pictures": list_pictures(
            out_dir, {"Accuracy against examples per class": image}
        ),
    }
    return *write_both(out_dir, report, fewshot_document), image


def fewshot_document(report):
    """Returns the report as a `Document`, made from nothing but its JSON."""
    subsets = max(len(row["accuracies"]) for row in report["results"])
    summary = Paragraph(
        f"Share of right test images: the median over {subsets} balanced "
        f"{'subsets' if subsets > 1 else 'subset'} of the training images, and from "
        "the least to the most in brackets, by examples per class."
    )
    blocks = [
        summary,
        Bullets(report["notes"]),
        *(Picture(**entry) for entry in report["pictures"]),
        *_tables(report["results"]),
        Heading("Settings"),
        settings_table(_settings(report)),
        Heading("Run"),
        run_table(report),
    ]
    return Document(report["title"], blocks)


def tabulate(results):
    """Yields (set, heads, rows of texts) of a table for each set.

    Args:
        results: What `summarize` returns, a list.
    """
    for name in dict.fromkeys(row["dataset"] for row in results):
        ours = [row for row in results if row["dataset"] == name]
        shots = sorted({row["examples_per_class"] for row in ours})
        cells = {
            (row["model"], row["method"], row["examples_per_class"]): _cell(row)
            for row in ours
        }
        lines = dict.fromkeys((row["model"], row["method"]) for row in ours)
        rows = [
            (*line, *(cells.get((*line, count), "–") for count in shots))
            for line in lines
        ]
        yield name, ("Model", "Method", *(f"{count:,}" for count in shots)), rows


def _tables(results):
    for name, heads, rows in tabulate(results):
        yield Heading(name)
        chance = next(r["chance"] for r in results if r["dataset"] == name)
        tested = next(r["num_test"] for r in results if r["dataset"] == name)
        caption = f"{tested:,} test images; guessing gets {100 * chance:.1f} % right."
        yield Table(heads, rows, range(2, len(heads)), caption)


def _cell(row):
    median, low, high = (100 * row[key] for key in ("median", "min", "max"))
    if len(row["accuracies"]) == 1:
        return f"{median:.1f} %"
    return f"{median:.1f} % ({low:.1f}–{high:.1f})"


def _settings(report):
    """Yields the settings of models and sets, and what holds for all."""
    yield from report["models"].items()
    for name, facts in report["datasets"].items():
        ours = [row for row in report["results"] if row["dataset"] == name]
        yield name, {**facts, **_settings_by_method(ours)}
    yield "all", report["settings"]


def _settings_by_method(results):
    """Returns each method's settings, of which there can be one for each model."""
    settings = {}
    for row in results:
        settings.setdefault(row["method"], {})[row["setting"]] = None
    return {method: "; ".join(lines) for method, lines in settings.items()}
