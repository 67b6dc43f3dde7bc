"""Write the tables of README.md anew, from `results/` and the published figures.

    python examples/bit_in_miniature/tables.py

Each one stands between `<!-- tables.py: NAME -->` and `<!-- end -->`.
"""

import json
import pathlib
import re

import numpy as np
import sets
from variants import VARIANTS

from bit_keras.published import ABSTRACT, README, TABLE_1, TABLE_2, TITLES, published

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER / "README.md"
SHOTS = (1, 5, 10, 25)
# Every model of the tables, and what the head of its column says.
FINE_TUNED = {
    "S-R26x0.5": "S, R26x0.5",
    "M-R26x0.5": "M, R26x0.5",
    "L-R26x0.5": "L, R26x0.5",
    "scratch-R26x0.5": "random weights, R26x0.5",
    "scratch5-R26x0.5": "the same, five times the steps",
    "L-R50x1": "L, R50x1",
    "scratch-R50x1": "random weights, R50x1",
    "L-R101x1": "L, R101x1",
}
PROBED = {
    "S-R26x0.5": "S, R26x0.5",
    "M-R26x0.5": "M, R26x0.5",
    "L-R26x0.5": "L, R26x0.5",
    "L-R26x1": "L, R26x1",
    "S-R50x1": "S, R50x1",
    "M-R50x1": "M, R50x1",
    "L-R50x1": "L, R50x1",
    "L-R101x1": "L, R101x1",
    "scratch-R26x0.5": "random weights, R26x0.5",
    "scratch-R50x1": "random weights, R50x1",
    "pixels": "pixels",
    "contrast": "contrast",
}
# Sets with too few images for all of `SHOTS`.
SMALL = {"orl_faces"}
NONE = "–"


def main():
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(renewed(text), encoding="utf-8")


def renewed(text):
    """Returns a page with its tables made anew."""
    tables = {
        "finetune": few_shot_table(read("finetune"), FINE_TUNED),
        "probe": few_shot_table(read("probe"), PROBED),
        "components": components_table(read("components")),
        "large-batches": large_batches_table(
            [*read("components"), *read("components-4096")]
        ),
        "paper-full": full_sets_table(),
        "paper-few": few_examples_table(),
        "tuned": tuned_table(read("tuned")),
    }

    def renew(match):
        head, name = match.groups()
        return f"{head}\n{tables[name]}\n<!-- end -->"

    pattern = r"(<!-- tables\.py: ([\w-]+) -->)\n.*?<!-- end -->"
    return re.sub(pattern, renew, text, flags=re.DOTALL)


def read(name):
    """Returns the rows of a file of results."""
    path = FOLDER / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def few_shot_table(rows, names):
    """Returns the medians by target and model, and their means over targets.

    Args:
        rows: Of `finetune.json` or `probe.json`.
        names: The head of the column of each model.
    """
    medians = {(r["model"], r["target"], r["shots"]): r["median"] for r in rows}
    chances = {row["target"]: row["chance"] for row in rows}
    whole = [name for name in sets.TARGETS if name not in {*SMALL, *sets.SHIFTED}]
    lines = {f"`{name}`": [name] for name in sets.TARGETS}
    lines[f"mean of {len(sets.TARGETS)}"] = sets.TARGETS
    left_out = " and ".join(f"`{name}`" for name in (*SMALL, *sets.SHIFTED))
    lines[f"mean of {len(whole)}, without {left_out}"] = whole

    def mean(values):
        return NONE if None in values else f"{100 * sum(values) / len(values):.1f}"

    return _table(
        [f"{', '.join(map(str, SHOTS))} per class", *names.values(), "guessing"],
        [
            [
                words,
                *(
                    ", ".join(
                        mean([medians.get((model, name, n)) for name in targets])
                        for n in SHOTS
                    )
                    for model in names
                ),
                mean([chances[name] for name in targets]),
            ]
            for words, targets in lines.items()
        ],
    )


def count_epochs(row):
    """Returns how often a network of such a row saw each image."""
    recipe = row["recipe"]
    return round(recipe["steps"] * recipe["batch_size"] / recipe["num_examples"])


def per_cent(row, key):
    """Returns an accuracy of such a row, or what there is in place of it."""
    if "failed" in row:
        return "diverged"
    return NONE if row[key] is None else f"{100 * row[key]:.1f}"


def large_batches_table(rows):
    """Returns the accuracies of all networks trained in batches of 4096.

    Args:
        rows: Of `components.json` and `components-4096.json`, of any settings.
    """

    def line(row):
        recipe = row["recipe"]
        return [
            row["variant"],
            f"{recipe['base_learning_rate']:g}",
            f"{recipe['steps']:,}",
            str(count_epochs(row)),
            str(recipe["warmup_steps"]),
            f"{recipe['clip_norm']:g}" if recipe["clip_norm"] else NONE,
            per_cent(row, "upstream_top1"),
            per_cent(row, "transfer_mean"),
        ]

    def order(row):
        return VARIANTS.index(row["variant"]), row.get("upstream_top1", 0)

    large = sorted((row for row in rows if row["batch_size"] == 4096), key=order)
    return _table(
        [
            "",
            "rate",
            "steps",
            "epochs",
            "of warm-up",
            "norm clipped to",
            "CIFAR-10, trained on it",
            "mean after transfer",
        ],
        [line(row) for row in large],
    )


def components_table(rows):
    """Returns the accuracies of all variants and batch sizes.

    Args:
        rows: Of `components.json`: one of each variant and batch size, and one number
            of epochs for each batch size.
    """
    found = {(row["batch_size"], row["variant"]): row for row in rows}
    epochs = {row["batch_size"]: count_epochs(row) for row in rows}
    kinds = {
        "CIFAR-10, trained on it": "upstream_top1",
        "mean after transfer": "transfer_mean",
    }

    def cell(key, size, variant):
        row = found.get((size, variant))
        return "not run" if row is None else per_cent(row, key)

    return _table(
        ["batch", "epochs", "top-1 in per cent", *VARIANTS],
        [
            [
                f"{size:,}",
                str(epochs[size]),
                words,
                *(cell(key, size, variant) for variant in VARIANTS),
            ]
            for size in sorted({size for size, _ in found})
            for words, key in kinds.items()
        ],
    )


def tuned_table(rows):
    """Returns what a search for each target has found, beside the rule.

    Args:
        rows: Of `tuned.json`.
    """
    heads = ["per cent of the test images, median (range) of the draws"]
    heads += ["the rule", "tuned", "tuned less rule, draw by draw"]
    heads += ["rate and steps found", "search"]
    return _table(heads, [_tuned_cells(row) for row in rows])


def _tuned_cells(row):
    contenders = [row[name]["accuracies"] for name in ("rule", "winner")]
    recipe, search = row["winner"]["recipe"], row["search"]
    return [
        f"`{row['target']}`, {row['shots']} per class",
        *(_median_and_range(accuracies) for accuracies in contenders),
        _median_and_range(np.subtract(*reversed(contenders)), "+"),
        f"{recipe['base_learning_rate']:g}, {recipe['steps']:,}",
        f"{search['runs']} runs, {search['seconds']:,.0f} s",
    ]


def _median_and_range(shares, sign=""):
    """Returns per cent, as `71.4 (70.0 to 72.1)`."""
    figures = np.median(shares), np.min(shares), np.max(shares)
    median, low, high = (f"{100 * each:{sign}.1f}" for each in figures)
    return f"{median} ({low} to {high})"


def full_sets_table():
    """Returns the paper's accuracies of its largest network on whole sets."""
    tasks = ("imagenet2012", "cifar10", "cifar100", "oxford_iiit_pet")
    tasks = (*tasks, "oxford_flowers102", "vtab")
    rows = []
    for letter, source in (("S", TABLE_2), ("M", TABLE_2), ("L", TABLE_1)):
        found = published(
            handle=f"{letter.lower()}-r152x4", source=source, metric="top-1"
        )
        values = {figure.task: figure.value for figure in found}
        rows.append([f"BiT-{letter}", *(f"{values[task]:.2f}" for task in tasks)])
    return _table(["R152x4, trained on", *map(TITLES.get, tasks)], rows)


def few_examples_table():
    """Returns the paper's and big_transfer's accuracies from few examples."""
    counts = {1: "1 per class", 5: "5", 10: "10", None: "all"}
    rows = []
    for handle, source in (("m-r50x1", README), ("l-r152x4", ABSTRACT)):
        found = published(handle=handle, source=source)
        for task in dict.fromkeys(figure.task for figure in found):
            values = {f.examples_per_class: f.value for f in found if f.task == task}
            cells = [str(values.get(n, NONE)) for n in counts]
            letter, network = handle.upper().replace("X", "x").split("-")
            rows.append([f"BiT-{letter}, {network}, {TITLES[task]}", *cells])
    return _table(["network and set", *counts.values()], rows)


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
