"""Draw what upstream.py, transfer.py, components.py and snapshots.py have written.

    python examples/bit_in_miniature/figures.py --transfer OUT/transfer/transfer.json \\
        --components OUT/components.json --snapshots OUT/snapshots --out_dir FIGURES

Each picture is narrow enough to be read on a phone. What has no file is left out.
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
    (BLUE, "o", "-"),
    (VERMILION, "s", "-"),
    (GREEN, "^", "-"),
    (GREY, "D", "--"),
    (INK, "v", "--"),
    (BROWN, "P", ":"),
    (PURPLE, "X", ":"),
)
# In inches: two panels side by side.
PANEL, GAP_ACROSS, GAP_DOWN, COLUMNS = (1.75, 1.4), 0.45, 0.55, 2
# Classes of a PCA that are told apart by colour; the others are grey.
NAMED_CLASSES = 6


def define_flags(values=flags.FLAGS):
    flags.DEFINE_string("transfer", None, "transfer.json", flag_values=values)
    flags.DEFINE_string("components", None, "components.json", flag_values=values)
    flags.DEFINE_string("snapshots", None, "Of snapshots.py.", flag_values=values)
    flags.DEFINE_string("out_dir", "figures", "For pictures.", flag_values=values)
    flags.DEFINE_string("largest", "R50x1", "Model of all sets.", flag_values=values)
    flags.DEFINE_string("method", "finetune", "Or probe.", flag_values=values)


def main(values):
    out_dir = pathlib.Path(values.out_dir)
    make_folder(out_dir)
    if values.transfer:
        draw_transfer(read(values.transfer), values.largest, values.method, out_dir)
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


def draw_transfer(rows, largest, method, out_dir):
    """Draws accuracy by examples per class, for upstream sets and for sizes on L."""
    by_set = {f"{name}-{largest}": f"{name}, {largest}" for name in "SML"}
    by_set |= {
        f"scratch-{largest}": "random weights",
        f"scratch5-{largest}": "random weights, 5 x steps",
        "pixels": "probe of pixels",
    }
    sizes = sorted({row["model"] for row in rows if row["model"].startswith("L-")})
    by_size = {name: name.removeprefix("L-") for name in sorted(sizes, key=_size)}
    chosen = select(rows, method)
    if any(row["model"] in by_set for row in chosen):
        words = "test accuracy by examples per class: median, least, most"
        curves(chosen, by_set, "Transfer from S, M and L", words, out_dir / "sets.png")
    if by_size:
        words = "upstream set L; by examples per class: median, least, most"
        curves(chosen, by_size, "Transfer by size", words, out_dir / "sizes.png")


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


def select(rows, method):
    """Returns the few-shot rows of a method; pixels have the probe alone."""
    return [
        row
        for row in rows
        if row["shots"] != "full"
        and (row["method"] == method or row["model"] == "pixels")
    ]


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

    rows = [row for row in rows if row["model"] in names]
    names = {
        key: name for key, name in names.items() if key in {r["model"] for r in rows}
    }
    looks = dict(zip(names, LINES, strict=False))
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
        for colour, marker, style in looks.values()
    ]
    figure.legend(
        [*key, Line2D([], [], color=GREY, lw=0.8, ls=":")],
        [*names.values(), "guessing"],
        loc="upper left",
        bbox_to_anchor=(0, 1 - below / height),
        ncols=2,
        frameon=False,
        borderaxespad=0,
    )
    save(figure, path)


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
        axes.plot(x, median, color=colour, marker=marker, ls=style, lw=1.5, ms=4)
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
        bbox_to_anchor=(0, -0.03),
        ncols=3,
        frameon=False,
        borderaxespad=0,
    )


@canvas.styled
def mistakes(archive, path):
    """Draws images that were wrong with the greatest confidence.

    Args:
        archive: `images`, `true`, `predicted` and `confidences` of `mistakes.npz`.
        path: PNG file to write.
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
        axes.imshow(image)
        axes.axis("off")
        if not number:
            canvas.header(axes, "Worst mistakes", "true class, then predicted", gap=8)
        for line, (text, colour) in enumerate(
            ((str(true), INK), (f"{confidence:.0%} {predicted}", VERMILION))
        ):
            text = canvas.fit(text, side)
            canvas.write(axes, text, (0, 0), (0, -10 - 11 * line), color=colour)
    save(figure, path)


if __name__ == "__main__":
    define_flags()
    app.run(lambda _: main(flags.FLAGS))
