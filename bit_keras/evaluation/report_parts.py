"""What reports have in common: tables of settings and of the run, and the wording."""

from bit_keras.evaluation.document import Table


def settings_table(parts):
    """Returns one table of what was run, on what and how.

    Args:
        parts: Pairs (name of a part, mapping of settings to values).
    """
    rows = [
        ("" if i else part, key.replace("_", " "), describe_value(value))
        for part, settings in parts
        for i, (key, value) in enumerate(settings.items())
    ]
    return Table(("", "Setting", "Value"), rows)


def run_table(report):
    """Returns the table of times, seed and versions.

    Args:
        report: A report's contents, with `timings`, `created`, `seed` and
            `environment`, and perhaps `input_wait`.
    """
    timings = dict(report["timings"])
    if len(timings) > 1:
        timings["total"] = sum(timings.values())
    rows = [
        (f"time, {name}", describe_duration(time)) for name, time in timings.items()
    ]
    if (share := report.get("input_wait")) is not None:
        rows.append(("training waited for images", f"{100 * share:.1f} % of the time"))
    rows.append(("date", describe_time(report["created"])))
    rows.append(("seed", "–" if report["seed"] is None else str(report["seed"])))
    rows += report["environment"].items()
    return Table(("", ""), rows)


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


def describe_share(share, total):
    """Words a share, with a second decimal where there are examples enough for it.

    Args:
        share: 0 to 1, or `None`.
        total: Number of examples that it is of.
    """
    return "–" if share is None else f"{100 * share:.{1 if total < 1000 else 2}f} %"


def describe_time(created):
    """Words the time of a report, as its JSON has it."""
    return created.replace("T", " ").replace("+00:00", " UTC")


def describe_duration(seconds):
    """Words a time, with two units at most."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
