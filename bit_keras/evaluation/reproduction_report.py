"""The report of a published table that was filled anew."""

import pathlib

from bit_keras.evaluation.document import Bullets, Document, Heading, Paragraph, Table
from bit_keras.evaluation.report import created_now, describe_environment, write_both
from bit_keras.evaluation.report_parts import run_table

SCHEMA = 1
TITLES = {
    "table1": "Table 1 of the BiT paper",
    "table2": "Table 2 of the BiT paper",
    "fewshot": "BiT with few examples, and in big_transfer's README",
    "vtab": "BiT on VTAB-1k",
}


def write_reproduction(out_dir, table, rows, *, images_per_second, notes, timings):
    """Writes `report.json`, `report.md` and `report.html`.

    Args:
        out_dir: Folder to write into; it is made where it is missing.
        table: Name of the table.
        rows: For each experiment a mapping: `experiment`, an `Experiment`; `missing`,
            what kept it from being run, or `None`; `hours`, the estimate; and
            `accuracies`, {(task, metric): share}, or `None` if it was not run.
        images_per_second: What the estimate is based on.
        notes: Sentences that a reader should know.
        timings: Mapping of parts of the run to seconds.

    Returns:
        The three paths, (JSON, Markdown, HTML).
    """
    report = {
        "schema": SCHEMA,
        "table": table,
        "title": f"{TITLES[table]}: published and reproduced",
        "created": created_now(),
        "notes": notes,
        "figures": [figure for row in rows for figure in _figures(**row)],
        "experiments": [_describe(**row) for row in rows],
        "images_per_second": images_per_second,
        "seed": None,
        "timings": timings,
        "environment": describe_environment(),
    }
    return write_both(pathlib.Path(out_dir), report, reproduction_document)


def _figures(experiment, missing, hours, accuracies):
    """Yields each published accuracy, in per cent, with ours beside it."""
    del missing, hours
    for figure in experiment.figures:
        share = accuracies and accuracies[figure.task, figure.metric]
        ours = None if share is None else 100 * share
        yield {
            "experiment": experiment.name,
            "model": experiment.preset.published_name,
            "what": figure.what,
            "published": figure.value,
            "source": figure.cited,
            "reproduced": ours,
            "difference": None if ours is None else ours - figure.value,
        }


def _describe(experiment, missing, hours, accuracies):
    state = "done" if accuracies else "skipped" if missing else "not run yet"
    recipes = dict.fromkeys(recipe.describe() for recipe in experiment.recipes())
    return {
        "name": experiment.name,
        "title": experiment.title,
        "recipe": "; ".join(recipes),
        "runs": len(experiment.recipes()),
        "hours": hours,
        "state": state,
        "missing": missing,
    }


def reproduction_document(report):
    """Returns the report as a `Document`, made from nothing but its JSON."""
    done = sum(row["state"] == "done" for row in report["experiments"])
    blocks = [
        Paragraph(
            f"{done} of {len(report['experiments'])} experiments were carried out. "
            "Differences are in points of per cent, ours less the published ones."
        ),
        Bullets(report["notes"]),
        Heading("Accuracies"),
        _figures_table(report["figures"]),
        Heading("Experiments"),
        _experiments_table(report),
        Heading("Run"),
        run_table(report),
    ]
    return Document(report["title"], blocks)


def _figures_table(figures):
    rows = [
        (
            row["model"],
            row["what"],
            f"{row['published']:g} %",
            "–" if row["reproduced"] is None else f"{row['reproduced']:.2f} %",
            "–" if row["difference"] is None else f"{row['difference']:+.2f}",
            row["source"],
        )
        for row in figures
    ]
    heads = ("Model", "What", "Published", "Reproduced", "Difference", "Published in")
    return Table(heads, rows, (2, 3, 4))


def _experiments_table(report):
    rows = [
        (
            row["name"],
            row["recipe"],
            f"{row['runs']}",
            f"{row['hours']:.2f}",
            f"{row['state']}: {row['missing']}" if row["missing"] else row["state"],
        )
        for row in report["experiments"]
    ]
    heads = ("Experiment", "Recipe", "Runs", "Hours", "State")
    caption = (
        "Hours are estimated for one device that trains R50x1 with "
        f"{report['images_per_second']:,.0f} images of 224 pixels a second, at the "
        "same rate of operations."
    )
    return Table(heads, rows, (2, 3), caption)
