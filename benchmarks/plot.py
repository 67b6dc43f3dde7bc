"""Draws the figures of `compare.py` as bars, and those of `scaling.py` as lines.

python benchmarks/plot.py benchmarks/compare-h100.json benchmarks/compare-h100.png
"""

import json
import pathlib
import sys

from matplotlib.figure import Figure

NAMES = {
    "bit_keras": "bit_keras",
    "xla": "bit_keras,\nkernels of XLA",
    "graph": "bit_keras\nwithout XLA",
    "stored": "bit_keras without\nstandardization",
    "unfolded": "bit_keras,\nstandardizing",
    "bare": "bit_keras without\nany normalization",
    "textbook": "layers of Keras",
    "timm": "timm, eager",
    "timm-compiled": "timm,\ntorch.compile",
}
MODES = {"train": "training", "infer": "inference"}
AXES = {
    "batch_size": "images in a step",
    "image_size": "pixels a side",
    "width": "width",
    "depth": "depth",
}


def draw(report):
    """Returns a figure with a panel for each mode that has something to compare."""
    modes = [mode for mode in MODES if len(report["runs"].get(mode, {})) > 1]
    figure = Figure(figsize=(5.2 * len(modes), 2.4), dpi=150, layout="constrained")
    for axes, mode in zip(
        figure.subplots(1, len(modes), squeeze=False)[0], modes, strict=True
    ):
        runs = report["runs"][mode]
        rates = {name: run["images/s"] for name, run in runs.items() if len(run) > 1}
        names = sorted(rates, key=rates.get)
        colors = [
            {"bit_keras": "#1a6faf", "bare": "#c9c9c9"}.get(n, "#8fb5d3") for n in names
        ]
        bars = axes.barh(
            [NAMES[n] for n in names], [rates[n] for n in names], color=colors
        )
        axes.bar_label(bars, [f"{rates[n]:,.0f}" for n in names], padding=3, fontsize=8)
        axes.set_title(f"{MODES[mode]}, images/s", fontsize=10)
        axes.set_xlim(0, 1.18 * max(rates.values()))
        axes.tick_params(labelsize=8)
        axes.xaxis.set_visible(False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.suptitle(
        f"{report['network']}, {report['batch size']} images of {report['pixels']} px, "
        f"{report['device']}",
        fontsize=10,
    )
    return figure


def draw_scaling(rows):
    """Returns a figure with speed and share of the matrix rate along each axis."""
    middle, *_ = [row["point"] for row in rows]
    figure = Figure(figsize=(8.4, 3.6), dpi=150, layout="constrained")
    panels = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, (axis, title) in enumerate(AXES.items()):
        others = {name: value for name, value in middle.items() if name != axis}
        along = sorted(
            (row for row in rows if others.items() <= row["point"].items()),
            key=lambda row: row["point"][axis],
        )
        speed, share = panels[:, column]
        for mode, color in (("train", "#1a6faf"), ("infer", "#d1641f")):
            found = [row for row in along if mode in row.get("modes", {})]
            if not found:
                continue
            x = [row["point"][axis] for row in found]
            for panel, key in ((speed, "images_per_second"), (share, "matrix_share")):
                y = [row["modes"][mode][key] for row in found]
                panel.plot(x, y, "o-", color=color, ms=3, lw=1.2, label=MODES[mode])
        share.set_xlabel(title, fontsize=9)
        share.set_xscale("log")
        values = [row["point"][axis] for row in along]
        share.set_xticks(values, [f"{value:g}" for value in values])
        share.minorticks_off()
    _finish_scaling(panels)
    whole = next(row for row in rows if "failed" not in row)
    device = f"{whole['environment']['device']}, {whole['precision']}"
    network = "R{depth}x{width:g}, {batch_size} images of {image_size} px".format
    figure.suptitle(f"{device}; in the middle: {network(**middle)}", fontsize=10)
    return figure


def _finish_scaling(panels):
    for axes in panels.flat:
        axes.tick_params(labelsize=7)
        axes.grid(axis="y", lw=0.4)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylabel("images/s", fontsize=9)
    panels[0, 0].legend(fontsize=7, frameon=False)
    panels[1, 0].set_ylabel("model FLOPs, share\nof the matrix rate", fontsize=8)
    panels[1, 0].set_ylim(0, 1)
    panels[1, 0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


if __name__ == "__main__":
    source, target = sys.argv[1:]
    figures = json.loads(pathlib.Path(source).read_text())
    drawn = draw_scaling(figures) if isinstance(figures, list) else draw(figures)
    drawn.savefig(target)
