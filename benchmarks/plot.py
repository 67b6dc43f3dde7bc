"""Draws the figures of `compare.py` as bars.

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


if __name__ == "__main__":
    source, target = sys.argv[1:]
    draw(json.loads(pathlib.Path(source).read_text())).savefig(target)
