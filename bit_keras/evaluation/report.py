"""The report of a run, for people (HTML, Markdown) and for programs (JSON)."""

import collections
import datetime
import json
import math
import os
import pathlib
import platform

import numpy as np
import tensorflow as tf

from bit_keras.evaluation.html import to_html
from bit_keras.evaluation.markdown import to_markdown
from bit_keras.evaluation.report_document import report_document
from bit_keras.files import replaced
from bit_keras.versions import versions

SCHEMA = 1


def write_report(
    out_dir,
    *,
    title,
    model_summary,
    data,
    recipe,
    evaluation,
    split="test",
    history=None,
    timings=None,
    input_wait=None,
    pictures=None,
    examples=(),
    seed=None,
    notes=(),
):
    """Writes `report.json`, which holds everything, `report.md` and `report.html`.

    The page holds its pictures. In the JSON file all keys are always there, and NaN and
    infinity become null.

    Args:
        out_dir: Folder to write into; it is made where it is missing.
        title: Heading of the report.
        model_summary: Mapping of what describes the model; like `data` and `recipe` it
            becomes a part of the table of settings, keys with their values.
        data: Mapping of what describes the data.
        recipe: Mapping of the training's settings, empty where nothing was trained.
        evaluation: `Evaluation` of the images.
        split: Name of the part of the data that they are, for the headline.
        history: Mapping of names to lists that were logged in training.
        timings: Mapping of the parts of the run, one after another, to seconds.
        input_wait: Share of the time for which training waited for its images, in
            [0, 1], or `None`.
        pictures: Mapping of captions to picture files; those that exist are shown.
        examples: Lists of small images, one for each of the first confusions, as
            `write_pictures` returns them.
        seed: Seed of the run.
        notes: Sentences that a reader should know, such as where the weights began.

    Returns:
        The three paths, (JSON, Markdown, HTML).
    """
    out_dir = pathlib.Path(out_dir)
    report = {
        "schema": SCHEMA,
        "title": title,
        "created": created_now(),
        "notes": notes,
        "split": split,
        "evaluation": evaluation.to_dict(),
        "model": model_summary,
        "data": data,
        "recipe": recipe,
        "seed": seed,
        "timings": timings or {},
        "input_wait": input_wait,
        "environment": describe_environment(),
        "pictures": list_pictures(out_dir, pictures or {}),
        "examples": examples,
        "history": history or {},
    }
    return write_both(out_dir, report, report_document)


def created_now():
    """Returns the time of a report, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def list_pictures(out_dir, pictures):
    """Returns the pictures that exist, as a report holds them.

    Args:
        out_dir: Folder of the report.
        pictures: Mapping of captions to files.
    """
    return [
        {"caption": caption, "file": os.path.relpath(path, out_dir)}
        for caption, path in pictures.items()
        if pathlib.Path(path).is_file()
    ]


def write_both(out_dir, report, describe):
    """Writes a report for programs and for people, who get it in two forms.

    Args:
        out_dir: Folder to write into; it is made where it is missing.
        report: The contents; NaN and infinity become null.
        describe: Maps the contents, in JSON's types, to a `Document`.

    Returns:
        The three paths, (`report.json`, `report.md`, `report.html`).
    """
    out_dir, report = pathlib.Path(out_dir), json_safe(report)
    document = describe(report)
    contents = {
        "report.json": json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        + "\n",
        "report.md": to_markdown(document),
        "report.html": to_html(document, out_dir),
    }
    for name, content in contents.items():
        with replaced(out_dir / name) as temporary:
            # Names of folders can hold what UTF-8 cannot; this is how JSON writes it.
            temporary.write_text(content, "utf-8", errors="backslashreplace")
    return tuple(out_dir / name for name in contents)


def describe_environment():
    """Returns the versions of the software and the name of the device."""
    return {
        **versions(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": _device(),
    }


def _device():
    """Names the visible accelerators, or else the processor."""
    names = [
        tf.config.experimental.get_device_details(device).get("device_name", kind)
        for device in tf.config.get_visible_devices()
        if (kind := device.device_type) != "CPU"
    ]
    if not names:
        return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    counts = collections.Counter(names)
    return ", ".join(f"{count} x {name}" for name, count in counts.items())


def json_safe(value):
    """Returns the value in JSON's types; what has no place there as its text."""
    if isinstance(value, collections.abc.Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_safe(value.tolist())
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int | str):
        return value
    return str(value)
