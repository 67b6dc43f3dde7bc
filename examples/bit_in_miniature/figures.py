"""Draw what upstream.py, transfer.py, components.py and snapshots.py have written.

    python examples/bit_in_miniature/figures.py --transfer OUT/transfer/transfer.json \\
        --components OUT/components.json --snapshots OUT/snapshots --out_dir FIGURES

Each picture is narrow enough to be read on a phone, but for `readme.png`. What has no
file is left out, and so are models that lack a run which another one has.
"""

import json
import pathlib

import numpy as np
import sets
from absl import app, flags

from bit_keras.evaluation import canvas
from bit_keras.evaluation.canvas import BLUE, GREEN, GREY, INK, VERMILION
from bit_keras.evaluation.fewshot_plot import BROWN, PURPLE
from bit_keras.files import make_folder

LINES = (
    # Colour, marker, style.
    (GREEN, "^", "-"),
    (PURPLE, "X", "-"),
    (BLUE, "o", "-"),
    (VERMILION, "s", "--"),
    (BROWN, "P", ":"),
    (INK, "v", ":"),
    (GREY, "D", "--"),
)
# In inches: two panels side by side.
PANEL, GAP_ACROSS, GAP_DOWN, COLUMNS = (1.75, 1.4), 0.45, 0.55, 2
# Targets of the picture for the front page, beside the mean.
HEADLINE = ("quickdraw45", "mnist")
METHODS = {"finetune": "fine-tuning", "probe": "linear probe"}
# Classes of a PCA that are told apart by colour; the others are grey.
NAMED_CLASSES = 6


def define_flags(values=flags.FLAGS):
    flags.DEFINE_list("transfer", [], "Files transfer.json.", flag_values=values)
    flags.DEFINE_string("components", None, "components.json", flag_values=values)
    flags.DEFINE_string("snapshots", None, "Of snapshots.py.", flag_values=values)
    flags.DEFINE_string("out_dir", "figures", "For pictures.", flag_values=values)
    flags.DEFINE_string("largest", "R50x1", "Model of all sets.", flag_values=values)
    flags.DEFINE_enum(
        "method", "finetune", METHODS, "Way to learn.", flag_values=values
    )
    flags.DEFINE_list(
        "shots", ["1", "5", "10", "25"], "Examples of each class.", flag_values=values
    )
    flags.DEFINE_bool("sizes", True, "Draw networks on L, too.", flag_values=values)


def main(values):
    out_dir = pathlib.Path(values.out_dir)
    make_folder(out_dir)
    rows = [row for path in values.transfer for row in read(path)]
    if chosen := select(rows, values.method, tuple(map(int, values.shots))):
        draw_transfer(chosen, values, out_dir)
    if values.components:
        components(read(values.components), out_dir / "components.png")
    if values.snapshots:
        folder = pathlib.Path(values.snapshots)
        with np.load(folder / "features.npz") as archive:
            feature_map(dict(archive), out_dir / "features.png")
        with np.load(folder / "mistakes.npz") as archive:
            mistakes(dict(archive), out_dir / "mistakes.png")


def read(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def draw_transfer(rows, values, out_dir):
    """Draws accuracy by examples per class: for upstream sets, sizes, the front page.

    Args:
        rows: Of `transfer.json`, of one method.
        values: The flags.
        out_dir: Folder for pictures.
    """
    largest, method = values.largest, values.method
    pretrained = {f"{name}-{largest}": f"{name}, {largest}" for name in "SML"}
    scratch = {
        f"scratch-{largest}": "random weights",
        f"scratch5-{largest}": "random weights, 5 x steps",
    }
    by_set = pretrained | scratch | {"pixels": "probe of pixels"}
    title = f"Transfer by {METHODS[method]}"
    if chosen := complete(rows, by_set):
        words = "test accuracy by examples per class: median, least, most"
        curves(chosen, by_set, title, words, out_dir / f"{method}.png")
        if method == "finetune" and _has_headline(chosen, largest):
            headline(chosen, largest, out_dir / "readme.png")
    sizes = sorted({row["model"] for row in rows if row["model"].startswith("L-")})
    by_size = {name: name.removeprefix("L-") for name in sorted(sizes, key=_size)}
    if values.sizes and len(by_size) > 1 and (chosen := complete(rows, by_size)):
        words = "upstream set L; by examples per class: median, least, most"
        curves(chosen, by_size, title, words, out_dir / f"{method}-sizes.png")


def _has_headline(rows, largest):
    found = {(row["model"], row["target"]) for row in rows}
    models = (f"L-{largest}", f"scratch-{largest}", "pixels")
    return found >= {(model, name) for model in models for name in HEADLINE}


def save(figure, path):
    """Writes a picture of 256 colours, in a third of the bytes."""
    from PIL import Image

    canvas.save(figure, path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def _size(name):
    """Orders `L-R50x1` by width and depth."""
    depth, width = name.split("-R")[1].split("x")
    return float(width), int(depth)


def select(rows, method, shots):
    """Returns the rows of a method and of some numbers of examples per class.

    Pixels are there for all methods: they have the probe alone.
    """
    return [
        row
        for row in rows
        if row["shots"] in shots
        and (row["method"] == method or row["model"] == "pixels")
    ]


def complete(rows, names):
    """Returns the rows of those models that lack no target and number of examples.

    A mean of fewer targets could not be held beside that of another model. What is left
    out is told.

    Args:
        rows: Of `transfer.json`.
        names: The models to choose from.
    """
    found = {}
    for row in rows:
        if row["model"] in names:
            found.setdefault(row["model"], set()).add((row["target"], row["shots"]))
    wanted = set().union(*found.values())
    for model, runs in found.items():
        if runs != wanted:
            print(f"{model} is left out: {len(wanted - runs)} of its rows are missing.")
    return [row for row in rows if found.get(row["model"]) == wanted]


def mean_rows(rows):
    """Returns, by model and shots, the mean over targets.

    It is of those targets alone that all models have for each number of shots, so that
    all of a curve and all curves are of the same ones; and not of sets that shift
    another one. The least and the most are means, too.
    """
    rows = [row for row in rows if row["target"] not in sets.SHIFTED]
    points = sorted({(row["model"], row["shots"]) for row in rows})
    found = {(row["target"], row["model"], row["shots"]): row for row in rows}
    targets = [
        target
        for target in dict.fromkeys(row["target"] for row in rows)
        if all((target, *point) in found for point in points)
    ]
    if not targets:
        return []

    def mean(model, shots, key):
        return float(np.mean([found[target, model, shots][key] for target in targets]))

    return [
        {"model": model, "shots": shots, "target": f"mean of {len(targets)} sets"}
        | {key: mean(model, shots, key) for key in ("median", "min", "max", "chance")}
        for model, shots in points
    ]


@canvas.styled
def curves(rows, names, title, words, path):
    """Draws a panel for each target and one for the mean, a line for each model.

    Args:
        rows: Of `transfer.json`.
        names: What to call each model, in the order of the key.
        title: The title.
        words: A line below it.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    # Of all names, so that a model looks the same in all pictures.
    looks = dict(zip(names, LINES, strict=False))
    drawn = [name for name in names if name in {row["model"] for row in rows}]
    rows = [*mean_rows(rows), *rows]
    panels = list(dict.fromkeys(row["target"] for row in rows))
    shots = sorted({row["shots"] for row in rows})
    width, height = PANEL
    figure = Figure(figsize=(COLUMNS * width + (COLUMNS - 1) * GAP_ACROSS, height))
    for number, target in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        left, top = column * (width + GAP_ACROSS), row * (height + GAP_DOWN)
        axes = canvas.inch_axes(figure, left, top, width, height)
        _panel(axes, target, [r for r in rows if r["target"] == target], looks, shots)
        if not number:
            canvas.header(axes, title, words, gap=26)
    below = -(-len(panels) // COLUMNS) * (height + GAP_DOWN)
    key = [
        Line2D([], [], color=colour, marker=marker, ls=style, lw=1.5, ms=4)
        for colour, marker, style in (looks[name] for name in drawn)
    ]
    figure.legend(
        [*key, Line2D([], [], color=GREY, lw=0.8, ls=":")],
        [*(names[name] for name in drawn), "guessing"],
        loc="upper left",
        bbox_to_anchor=(0, 1 - below / height),
        ncols=2,
        frameon=False,
        borderaxespad=0,
    )
    save(figure, path)


@canvas.styled
def headline(rows, largest, path):
    """Draws upstream weights beside random ones on a few targets, side by side.

    Args:
        rows: Of `transfer.json`, of models that lack none.
        largest: The network.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    looks = {f"L-{largest}": LINES[2], f"scratch-{largest}": LINES[3]}
    looks["pixels"] = LINES[5]
    rows = [row for row in rows if row["model"] in looks]
    shots = sorted({row["shots"] for row in rows})
    panels = [mean_rows(rows)]
    panels += [[row for row in rows if row["target"] == name] for name in HEADLINE]
    # As narrow as three panels can be: a front page shows it smaller than it is.
    width, height = 1.45, PANEL[1]
    step = width + GAP_ACROSS
    figure = Figure(figsize=(len(panels) * step - GAP_ACROSS, height))
    for column, panel in enumerate(panels):
        axes = canvas.inch_axes(figure, column * step, 0, width, height)
        _panel(axes, panel[0]["target"], panel, looks, shots)
        axes.set_ylim(0, 1)
        if column:
            axes.set_yticklabels([])
        _name_ends(axes, panel, list(looks)[:2], looks)
    words = "test accuracy by examples per class: median, least and most of 5 draws"
    canvas.header(figure.axes[0], "Learning from a few examples", words, gap=26)
    _headline_key(figure, figure.axes[0].lines[: len(looks)])
    save(figure, path)


def _headline_key(figure, lines):
    figure.legend(
        lines,
        [
            "fine-tuned from pre-trained weights (set L)",
            "fine-tuned from random weights, as many steps",
            "linear probe of pixels",
        ],
        loc="upper left",
        bbox_to_anchor=(0, -0.18),
        ncols=2,
        frameon=False,
        borderaxespad=0,
        labelcolor="linecolor",
    )


def _name_ends(axes, rows, models, looks):
    """Writes the accuracy from the most examples beside the end of a line."""
    for model in models:
        last = max(
            (row for row in rows if row["model"] == model), key=lambda row: row["shots"]
        )
        canvas.write(
            axes,
            canvas.percent(last["median"], 0),
            (last["shots"], last["median"]),
            (8, 0),
            coords="data",
            color=looks[model][0],
            fontweight="bold",
            va="center",
        )


def _panel(axes, target, rows, looks, shots):
    axes.set_title(canvas.fit(target, PANEL[0], "bold"), pad=6)
    axes.grid(axis="y")
    for model, (colour, marker, style) in looks.items():
        ours = sorted(
            (row for row in rows if row["model"] == model), key=lambda row: row["shots"]
        )
        if not ours:
            continue
        x, median, low, high = (
            [row[key] for row in ours] for key in ("shots", "median", "min", "max")
        )
        line = {"color": colour, "marker": marker, "ls": style, "lw": 1.5, "ms": 4}
        # A marker near 100 % is not cut in half.
        axes.plot(x, median, clip_on=False, **line)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    axes.axhline(rows[0]["chance"], color=GREY, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_xlim(shots[0] / 1.3, shots[-1] * 1.3)
    axes.set_xticks(shots, [str(count) for count in shots])
    axes.minorticks_off()
    axes.set_ylim(0, min(1, 1.1 * max(row["max"] for row in rows)))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")


@canvas.styled
def components(rows, path):
    """Draws accuracy upstream and after transfer, for each variant and batch size.

    Args:
        rows: Of `components.json`, with `variant`, `batch_size`, `upstream_top1` and
            `transfer_mean`, or with `failed`.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    heads = {"upstream_top1": "upstream", "transfer_mean": "after transfer, mean"}
    looks = dict(zip(heads, LINES, strict=False))
    height = 0.24 * len(rows)
    figure = Figure(figsize=(2.6, height))
    axes = canvas.inch_axes(figure, 0, 0, 2.6, height)
    canvas.header(axes, "Components", "test accuracy, by variant and batch", gap=24)
    for place, row in enumerate(rows):
        if "failed" in row:
            axes.text(0.02, place, "diverged", va="center", color=GREY)
            continue
        for key, (colour, marker, _) in looks.items():
            axes.plot(row[key], place, marker, color=colour, ms=6)
    labels = [f"{row['variant']}, {row['batch_size']}" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.grid(axis="both")
    for key, (colour, marker, _) in looks.items():
        axes.plot([], [], marker, color=colour, label=heads[key])
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderpad=0
    )
    save(figure, path)


def principal_components(features):
    """Returns the first two principal components, [N, 2], of features [N, D].

    Their signs are such that the largest value of each is positive.
    """
    centred = np.asarray(features, np.float64) - np.mean(features, axis=0)
    left, scales, _ = np.linalg.svd(centred, full_matrices=False)
    plane = left[:, :2] * scales[:2]
    largest = plane[np.abs(plane).argmax(axis=0), [0, 1]]
    return plane * np.where(largest < 0, -1, 1)


def between_classes(features, labels):
    """Returns the share of the variance of features that the means of classes have."""
    centred = np.asarray(features, np.float64) - np.mean(features, axis=0)
    means = [centred[labels == label].mean(axis=0) for label in np.unique(labels)]
    explained = np.array(means)[np.unique(labels, return_inverse=True)[1]]
    return float(np.sum(explained**2) / np.sum(centred**2))


@canvas.styled
def feature_map(archive, path):
    """Draws features of the test images before and after fine-tuning, side by side.

    Args:
        archive: `before`, `after`, `labels` and `class_names` of `features.npz`.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    side, gap = 1.85, 0.15
    figure = Figure(figsize=(2 * side + gap, side))
    for column, when in enumerate(("before", "after")):
        axes = canvas.inch_axes(figure, column * (side + gap), 0, side, side)
        axes.set_title(f"{when} fine-tuning", pad=4)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        plane, labels = principal_components(archive[when]), archive["labels"]
        others = labels >= NAMED_CLASSES
        axes.scatter(*plane[others].T, s=3, color=canvas.HAIRLINE, lw=0)
        for label, (colour, marker, _) in zip(
            range(NAMED_CLASSES), LINES, strict=False
        ):
            axes.scatter(
                *plane[labels == label].T, s=9, color=colour, marker=marker, lw=0
            )
        share = canvas.percent(between_classes(archive[when], labels), 0)
        words = f"variance between classes: {share}"
        canvas.write(axes, words, (0, 0), (0, -10), color=GREY)
        if not column:
            words = "first two principal components of test images"
            canvas.header(axes, "Features", words, gap=22)
    names = list(archive["class_names"][:NAMED_CLASSES])
    if len(archive["class_names"]) > NAMED_CLASSES:
        names.append("others")
    _feature_key(figure, names)
    save(figure, path)


def _feature_key(figure, names):
    from matplotlib.lines import Line2D

    looks = [(c, m) for c, m, _ in LINES[:NAMED_CLASSES]]
    looks = [*looks[: len(names)], (canvas.HAIRLINE, "o")]
    marks = [Line2D([], [], ls="", marker=m, color=c, ms=4) for c, m in looks]
    figure.legend(
        marks[: len(names)],
        [canvas.fit(str(name), 1.0) for name in names],
        loc="upper left",
        bbox_to_anchor=(0, -0.12),
        ncols=3,
        frameon=False,
        borderaxespad=0,
    )


@canvas.styled
def mistakes(archive, path, title="Worst mistakes"):
    """Draws images with what they show and what a model says.

    Args:
        archive: `images`, `true`, `predicted` and `confidences` of `mistakes.npz`: of
            those that were wrong with the greatest confidence.
        path: PNG file to write.
        title: The title.
    """
    from matplotlib.figure import Figure

    side, gap, below, columns = 0.95, 0.1, 0.48, 4
    figure = Figure(figsize=(columns * (side + gap) - gap, side))
    things = zip(
        *(archive[key] for key in ("images", "true", "predicted", "confidences")),
        strict=True,
    )
    for number, (image, true, predicted, confidence) in enumerate(things):
        row, column = divmod(number, columns)
        left, top = column * (side + gap), row * (side + below)
        axes = canvas.inch_axes(figure, left, top, side, side)
        axes.imshow(image, interpolation="nearest")
        axes.axis("off")
        if not number:
            words = "true class, then the predicted one with its probability"
            canvas.header(axes, title, words, gap=8)
        for line, (text, colour) in enumerate(
            ((str(true), INK), (f"{confidence:.0%} {predicted}", VERMILION))
        ):
            text = canvas.fit(text, side)
            canvas.write(axes, text, (0, 0), (0, -10 - 11 * line), color=colour)
    save(figure, path)


if __name__ == "__main__":
    define_flags()
    app.run(lambda _: main(flags.FLAGS))
