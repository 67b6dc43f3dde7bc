"""Pictures of a training run and of its result, as PNG files."""

import numpy as np

from bit_keras.errors import InputError
from bit_keras.evaluation import canvas
from bit_keras.evaluation.canvas import BLUE, GREEN, GREY, INK, VERMILION

# Title, curves and height in inches of each panel of the learning curve.
PANELS = (
    ("Loss", ("loss", "val_loss"), 2.0),
    ("Accuracy", ("accuracy", "val_accuracy"), 2.0),
    ("Learning rate", ("learning_rate",), 0.6),
)
MAX_COUNTED_CLASSES, MAX_NAMED_CLASSES = 20, 40
PICTURE_WIDTH = 1.5


@canvas.styled
def learning_curve(history, path):
    """Draws loss, accuracy and learning rate over the training, one below another.

    Args:
        history: Mapping of names to lists of one length, as in the `history` of
            Keras's `History`. Drawn are `loss`, `accuracy`, `val_loss`, `val_accuracy`
            and `learning_rate`, as far as they are there; None and NaN are left out.
            `step` gives the training step of each entry; without it they are epochs,
            counted from 1.
        path: PNG file to write.

    Raises:
        InputError: If there is nothing to draw or the lengths differ.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    panels = [panel for panel in PANELS if not set(panel[1]).isdisjoint(history)]
    lengths = {name: len(values) for name, values in history.items()}
    if not panels or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InputError(
            f"Received: a history with these numbers of values: {lengths}, expected "
            "lists of one length, among them loss or accuracy; give what was logged in "
            "training."
        )
    unit = "step" if "step" in history else "epoch"
    steps = history.get("step", range(1, 1 + max(lengths.values())))
    figure = Figure(figsize=(6, 7))
    top, all_axes = 0, []
    for title, names, height in panels:
        axes = canvas.inch_axes(figure, 0, top, 6, height)
        axes.set_title(title, pad=8)
        axes.set_xlim(0, 1.02 * steps[-1])
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.tick_params(labelbottom=False)
        curves = {n: _points(steps, history[n]) for n in names if n in history}
        _draw_curves(axes, curves, single=len(steps) == 1)
        top += height + 0.45
        all_axes.append(axes)
    all_axes[-1].tick_params(labelbottom=True)
    all_axes[-1].set_xlabel(unit)
    words = f"{steps[-1]:,} {unit}{'s' if steps[-1] != 1 else ''} of training"
    canvas.header(all_axes[0], "Learning curve", words, gap=28)
    canvas.save(figure, path)


def _points(steps, values):
    """Returns the pairs (step, value) where there is a finite value."""
    pairs = zip(steps, values, strict=True)
    return [(x, y) for x, y in pairs if y is not None and np.isfinite(y)]


def _draw_curves(axes, curves, single):
    """Draws one panel; `single` asks for scales that suit a single point."""
    axes.grid(axis="y")
    for name, points in curves.items():
        line = np.array(points).reshape(-1, 2).T
        marker = "o" if len(points) <= 20 else None
        axes.plot(
            *line, color=_colour(name), lw=1.6, marker=marker, ms=4, clip_on=False
        )
    if "learning_rate" in curves:
        peak = max((y for _, y in curves["learning_rate"]), default=0) or 1
        axes.set(ylim=(0, 1.1 * peak), yticks=[0, peak], yticklabels=[0, f"{peak:.3g}"])
        return
    write = "{:.3f}".format
    if single:
        axes.set_ylim(bottom=0)
    if not {"accuracy", "val_accuracy"}.isdisjoint(curves):
        write = canvas.percent
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        if single:
            axes.set_ylim(top=1)
    _label_ends(axes, curves, write)


def _label_ends(axes, curves, write):
    """Writes each curve's name and last value to the right of its end."""
    ends = sorted((points[-1][1], name) for name, points in curves.items() if points)
    low, high = axes.get_ylim()
    heights = _apart([(end - low) / (high - low) for end, _ in ends], 0.09)
    for (end, name), height in zip(ends, heights, strict=True):
        text = f"{'validation' if name.startswith('val_') else 'training'} {write(end)}"
        canvas.write(axes, text, (1, height), (6, 0), color=_colour(name), va="center")


def _colour(name):
    """Returns the colour of a curve: validation stands out."""
    return BLUE if name.startswith("val_") else GREY


def _apart(heights, gap):
    """Moves two ascending heights `gap` apart where they are closer."""
    if len(heights) < 2 or heights[1] - heights[0] >= gap:
        return heights
    middle = sum(heights) / 2
    return [middle - gap / 2, middle + gap / 2]


@canvas.styled
def confusion_matrix(evaluation, path):
    """Draws how often each class was taken for each other one.

    Each row is a true class, coloured by its shares: blue what is right, orange what is
    wrong. Up to 20 classes have their counts written in the cells, up to 40 their names
    at the sides.

    Args:
        evaluation: `Evaluation` of at most 1000 classes.
        path: PNG file to write.

    Raises:
        InputError: If there are more classes than that.
    """
    from matplotlib.figure import Figure

    counts = evaluation.confusion
    if counts is None:
        raise InputError(
            f"Received: an evaluation of {evaluation.num_classes} classes, expected at "
            "most 1000 for a confusion matrix; look at the most frequent confusions "
            "of the report instead."
        )
    num_classes = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    counted = num_classes <= MAX_COUNTED_CLASSES
    named = num_classes <= MAX_NAMED_CLASSES
    side = min(max(2.4, num_classes * (0.42 if counted else 0.24)), 9.6)
    figure = Figure(figsize=(side, side))
    axes = canvas.inch_axes(figure, 0, 0, side, side)
    axes.imshow(_blend(shares, np.eye(num_classes, dtype=bool)))
    axes.spines[:].set_visible(False)
    suffix = "" if named else ", by index"
    axes.set_xlabel(f"predicted class{suffix}", labelpad=8)
    axes.set_ylabel(f"true class{suffix}", labelpad=8)
    if named:
        _name_classes(axes, evaluation)
    if counted:
        _write_counts(axes, counts, shares)
    else:
        _draw_key(figure, side + (1.0 if named else 0.35))
    right = f"{evaluation.num_correct:,} of {evaluation.num_examples:,} images right"
    words = f"{right}, {canvas.percent(evaluation.top1)}"
    canvas.header(axes, "Confusion matrix", words, gap=22)
    canvas.save(figure, path)


def _blend(shares, right):
    """Returns RGB: from near white to blue where right, to orange where not."""
    from matplotlib.colors import to_rgb

    full = np.where(right[..., None], to_rgb(BLUE), to_rgb(VERMILION))
    # The root makes a few errors in a hundred visible.
    return 0.97 + np.sqrt(shares)[..., None] * (full - 0.97)


def _name_classes(axes, evaluation):
    """Writes the names at both sides, and to the right how many are right."""
    names = [canvas.fit(name, 2) for name in evaluation.class_names]
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    axes.set_xticks(ticks[1:] - 0.5, minor=True)
    axes.set_yticks(ticks[1:] - 0.5, minor=True)
    axes.tick_params(which="both", length=0, labelcolor=INK)
    axes.grid(which="minor", color="white", linewidth=1)
    style = {"color": GREY, "ha": "right"}
    canvas.write(axes, "right", (1, 1), (38, 5), **style)
    for row, accuracy in enumerate(evaluation.class_accuracy):
        text = "–" if np.isnan(accuracy) else canvas.percent(accuracy, digits=0)
        coords = ("axes fraction", "data")
        canvas.write(axes, text, (1, row), (38, 0), coords, va="center", **style)


def _write_counts(axes, counts, shares):
    """Writes the counts into the cells, but no zeros."""
    for row, column in np.argwhere(counts):
        axes.text(
            column,
            row,
            f"{counts[row, column]:,}",
            color="white" if shares[row, column] > 0.6 else INK,
            ha="center",
            va="center",
        )


def _draw_key(figure, left):
    """Draws the scales of the two colours, `left` inches from the left."""
    # Linear in the strength of the colour, which is the root of the share.
    shares = np.linspace(1, 0, 256)[:, None] ** 2
    for name, offset in (("right", 0), ("wrong", 0.4)):
        axes = canvas.inch_axes(figure, left + offset, 0.15, 0.13, 1.2)
        colours = _blend(shares, np.full(shares.shape, name == "right"))
        axes.imshow(colours, aspect="auto", extent=(0, 1, 0, 1))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        canvas.write(axes, name, (0.5, 1), (0, 9), ha="center", color=GREY)
    axes.yaxis.tick_right()
    ticks = [0.01, 0.1, 0.5, 1]
    axes.set_yticks(np.sqrt(ticks), [canvas.percent(tick, 0) for tick in ticks])
    canvas.write(axes, "share of the row", (1, 0), (-38, -15), color=GREY)


@canvas.styled
def reliability_diagram(evaluation, path):
    """Draws how often predictions are right by how sure they are.

    Each bar is a bin of confidences, as wide as the bin: its height is the share of
    right ones, its darkness how many there are. The bars of a model that is as sure as
    it is right end at the diagonal.

    Args:
        evaluation: `Evaluation`.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    calibration = evaluation.calibration
    counts, num_bins = calibration.counts, len(calibration.counts)
    figure = Figure(figsize=(3, 3))
    axes = canvas.inch_axes(figure, 0, 0, 3, 3)
    shares = np.sqrt(counts / counts.max())
    for i in np.flatnonzero(counts):
        axes.bar(
            i / num_bins,
            calibration.accuracies[i],
            1 / num_bins,
            align="edge",
            color=_blend(shares[i], np.array(True)),
            edgecolor="white",
        )
    filled = counts > 0
    points = calibration.confidences[filled], calibration.accuracies[filled]
    axes.plot(*points, "o", color=INK, ms=3, clip_on=False)
    axes.plot((0, 1), (0, 1), ":", color=GREY, lw=1)
    ticks = np.linspace(0, 1, 6)
    labels = [canvas.percent(tick, 0) for tick in ticks]
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share that is right")
    words = f"expected calibration error {canvas.percent(calibration.error)}"
    canvas.header(axes, "Calibration", words, gap=12)
    canvas.save(figure, path)


@canvas.styled
def prediction_sheet(images, labels, predictions, confidences, class_names, path):
    """Draws a sheet of images with what the model took them for.

    A right one has a tick and a thin green frame; a wrong one a cross, a thick red
    frame and a second line with the true class.

    Args:
        images: Float [n, H, W, 3], -1 to 1, in the order of the sheet, n at least 1.
        labels: Integers [n], the true classes.
        predictions: Integers [n], the predicted classes.
        confidences: Floats [n], 0 to 1, the probabilities of the predicted classes.
        class_names: K strings.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    images = np.clip((np.asarray(images) + 1) / 2, 0, 1)
    height = PICTURE_WIDTH * images.shape[1] / images.shape[2]
    columns = min(6, len(images))
    figure = Figure(figsize=(columns * PICTURE_WIDTH, height))
    right = np.equal(labels, predictions)
    cells = []
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        left, top = column * (PICTURE_WIDTH + 0.2), row * (height + 0.5)
        axes = canvas.inch_axes(figure, left, top, PICTURE_WIDTH, height)
        axes.imshow(image, aspect="auto")
        _frame(axes, right[i])
        name, true_name = class_names[predictions[i]], class_names[labels[i]]
        _caption(axes, name, true_name, confidences[i], right[i])
        cells.append(axes)
    words = f"a selection: {(~right).sum()} wrong, {right.sum()} right"
    canvas.header(cells[0], "Images with predictions", words, gap=44)
    canvas.save(figure, path)


def _frame(axes, right):
    """Frames an image by whether the prediction is right."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(
        visible=True,
        color=GREEN if right else VERMILION,
        linewidth=1 if right else 2.5,
    )


def _caption(axes, name, true_name, confidence, right):
    """Writes the prediction above an image, and the truth where it is another one."""
    style = {"color": GREEN if right else VERMILION, "fontweight": "bold"}
    share = canvas.percent(confidence, digits=0)
    room = PICTURE_WIDTH - canvas.text_width(f"{share}  ", "bold")
    text = canvas.fit(f"{'✓' if right else '✗'} {name}", room, "bold")
    canvas.write(axes, text, (0, 1), (0, 6 if right else 17), **style)
    canvas.write(axes, share, (1, 1), (0, 6 if right else 17), ha="right", **style)
    if not right:
        canvas.write(
            axes,
            canvas.fit(f"is {true_name}", PICTURE_WIDTH),
            (0, 1),
            (0, 6),
            color=INK,
        )
