"""The report of an evaluation on VTAB-1k, for people and for programs."""

import pathlib

from bit_keras.evaluation.document import (
    Bullets,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from bit_keras.evaluation.report import (
    created_now,
    describe_environment,
    list_pictures,
    write_both,
)
from bit_keras.evaluation.report_parts import (
    describe_duration,
    run_table,
    settings_table,
)
from bit_keras.evaluation.vtab import GROUPS, TASKS
from bit_keras.evaluation.vtab_plot import accuracy_by_task
from bit_keras.published import FIGURES

SCHEMA = 1
PICTURE_FILE = "vtab.png"
ALL = "all"


def summarize_task(task, num_correct, num_test, **subject):
    """Returns the figures of one model on one task.

    Args:
        task: The `Task`.
        num_correct: Number of right test images of each run, by seed.
        num_test: Number of test images.
        **subject: What else there is to say: `model`, `setting` (one line), `search`
            (a list of what was tried) and `seconds`.

    Returns:
        A dict of JSON's types.
    """
    accuracies = [count / num_test for count in num_correct]
    return {
        **subject,
        "task": task.name,
        "group": task.group,
        "num_correct": list(num_correct),
        "num_test": num_test,
        "accuracies": accuracies,
        "mean": sum(accuracies) / len(accuracies),
        "min": min(accuracies),
        "max": max(accuracies),
    }


def means_of(results):
    """Returns the mean accuracies of each model.

    Args:
        results: What `summarize_task` returns, a list.

    Returns:
        {model: {group or `"all"`: mean of its tasks, or `None` where one is missing}}.
        As published, that of all tasks counts every task alike, not every group.
    """
    by_model = {}
    for row in results:
        by_model.setdefault(row["model"], {})[row["task"]] = row["mean"]
    members = {ALL: list(TASKS)}
    for group in GROUPS:
        members[group] = [task.name for task in TASKS.values() if task.group == group]
    return {
        model: {group: _mean(found, names) for group, names in members.items()}
        for model, found in by_model.items()
    }


def _mean(found, names):
    """Returns the mean over all names, `None` if one of them is missing."""
    if any(name not in found for name in names):
        return None
    return sum(found[name] for name in names) / len(names)


def write_vtab_report(out_dir, results, *, models, settings, notes, timings):
    """Writes `report.json`, `report.md`, `report.html` and `vtab.png`.

    Args:
        out_dir: Folder to write into; it is made where it is missing.
        results: What `summarize_task` returns, a list.
        models: Mapping of names to what describes each model.
        settings: Mapping of what holds for all, with `seeds`.
        notes: Sentences that a reader should know.
        timings: Mapping of parts of the run to seconds.

    Returns:
        The four paths, (JSON, Markdown, HTML, picture).
    """
    out_dir = pathlib.Path(out_dir)
    image = out_dir / PICTURE_FILE
    accuracy_by_task(results, image)
    report = {
        "schema": SCHEMA,
        "title": "VTAB-1k",
        "created": created_now(),
        "notes": notes,
        "means": means_of(results),
        "published": _published(),
        "results": results,
        "models": models,
        "settings": settings,
        "seed": ", ".join(map(str, settings["seeds"])),
        "timings": timings,
        "environment": describe_environment(),
        "pictures": list_pictures(out_dir, {"Accuracy by task": image}),
    }
    return *write_both(out_dir, report, vtab_document), image


def _published():
    """Returns the published means, a list of rows like those of `means_of`."""
    rows = {}
    for figure in FIGURES:
        family, _, group = figure.task.partition("/")
        if family == "vtab":
            key = f"BiT-{figure.start.upper().replace('X', 'x')}", figure.source
            rows.setdefault(key, {})[group or ALL] = figure.value / 100
    return [
        {"model": model, "source": source, "means": means}
        for (model, source), means in rows.items()
    ]


def vtab_document(report):
    """Returns the report as a `Document`, made from nothing but its JSON."""
    runs = len(report["settings"]["seeds"])
    count = f"the mean of {runs} runs" if runs > 1 else "one run"
    blocks = [
        Paragraph(
            "Share of right test images after fine-tuning on 1000 examples of a task, "
            f"{count} each. A mean over tasks is given if none of them is missing."
        ),
        Bullets(report["notes"]),
        Heading("Means"),
        _means_table(report),
        *(Picture(**entry) for entry in report["pictures"]),
        Heading("Tasks"),
        _tasks_table(report["results"]),
        *_searches(report["results"]),
        Heading("Settings"),
        settings_table([*report["models"].items(), ("all", report["settings"])]),
        Heading("Run"),
        run_table(report),
    ]
    return Document(report["title"], blocks)


def _means_table(report):
    """Returns the means of all models, those of others below."""
    groups = (ALL, *GROUPS)
    rows = [
        (model, "this report", *(_percent(means[group]) for group in groups))
        for model, means in report["means"].items()
    ]
    for row in report["published"]:
        means = (_percent(row["means"].get(group), 2) for group in groups)
        rows.append((row["model"], row["source"], *means))
    heads = ("Model", "From", "All 19", *(group.capitalize() for group in GROUPS))
    return Table(heads, rows, range(2, 6))


def _tasks_table(results):
    rows = [
        (
            row["task"],
            row["model"],
            _cell(row),
            f"{row['num_test']:,}",
            describe_duration(row["seconds"]),
            row["setting"],
        )
        for row in sorted(results, key=lambda row: list(TASKS).index(row["task"]))
    ]
    heads = ("Task", "Model", "Accuracy", "Test images", "Time", "Setting")
    return Table(heads, rows, (2, 3, 4))


def _searches(results):
    """Yields the section on what was tried, if there was a search."""
    tried = [row for row in results if row["search"]]
    if not tried:
        return
    yield Heading("Search")
    rows = [
        (
            row["task"],
            row["model"],
            f"{trial['steps']:,}",
            f"{trial['learning rate']:g}",
            _percent(trial["accuracy"]),
        )
        for row in tried
        for trial in row["search"]
    ]
    heads = ("Task", "Model", "Steps", "Learning rate", "Accuracy on 200")
    yield Table(heads, rows, (2, 3, 4), "Trained on 800 of the 1000 examples.")


def _cell(row):
    if len(row["accuracies"]) == 1:
        return _percent(row["mean"])
    low, high = 100 * row["min"], 100 * row["max"]
    return f"{_percent(row['mean'])} ({low:.1f}–{high:.1f})"


def _percent(share, digits=1):
    return "–" if share is None else f"{100 * share:.{digits}f} %"
