"""The picture of an evaluation on VTAB-1k: the accuracy of each task."""

from bit_keras.evaluation import canvas
from bit_keras.evaluation.canvas import GREY, HAIRLINE
from bit_keras.evaluation.fewshot_plot import COLOURS, MARKERS
from bit_keras.evaluation.vtab import GROUPS, TASKS

# In inches.
WIDTH, ROW, GAP = 4.2, 0.24, 0.35


@canvas.styled
def accuracy_by_task(results, path):
    """Draws the accuracy of each task, one below another in three groups.

    There is a point for the mean of the runs and a line from the least to the most.

    Args:
        results: Mappings with `model`, `task`, `group`, `mean`, `min` and `max`
            (shares, 0 to 1), at least one.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row["model"] for row in results))
    figure = Figure(figsize=(WIDTH, 4))
    top, panels = 0, []
    for group in GROUPS:
        rows = [row for row in results if row["group"] == group]
        tasks = [name for name in TASKS if any(r["task"] == name for r in rows)]
        if not tasks:
            continue
        height = ROW * len(tasks)
        axes = canvas.inch_axes(figure, 0, top, WIDTH, height)
        _draw_group(axes, group, tasks, rows, models)
        top += height + GAP
        panels.append(axes)
    panels[-1].tick_params(labelbottom=True)
    panels[-1].set_xlabel("test accuracy")
    if len(models) > 1:
        _draw_key(panels[-1], models)
    words = "1000 examples of each task; lines from the least to the most of the runs"
    canvas.header(panels[0], "VTAB-1k", words, gap=24)
    canvas.save(figure, path)


def _draw_group(axes, group, tasks, rows, models):
    """Draws the tasks of one group."""
    axes.set_title(group.capitalize(), pad=6)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.tick_params(labelbottom=False)
    axes.grid(axis="x")
    axes.hlines(range(len(tasks)), 0, 1, color=HAIRLINE, lw=0.6)
    for row in rows:
        number = models.index(row["model"])
        # Beside each other, so that models of equal accuracy can all be seen.
        offset = 0.5 * ((number + 0.5) / len(models) - 0.5)
        place = tasks.index(row["task"]) + offset
        colour = COLOURS[number % len(COLOURS)]
        axes.hlines(place, row["min"], row["max"], color=colour, lw=1.6)
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(row["mean"], place, marker, color=colour, ms=4, clip_on=False)


def _draw_key(axes, models):
    """Draws which model a point belongs to, below everything."""
    from matplotlib.lines import Line2D

    points = [
        Line2D(
            [],
            [],
            ls="",
            ms=4,
            marker=MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
        )
        for i in range(len(models))
    ]
    height = axes.get_figure().get_size_inches()[1] * axes.get_position().height
    axes.legend(
        points,
        [canvas.fit(model, WIDTH) for model in models],
        loc="upper left",
        bbox_to_anchor=(0, -0.5 / height),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        labelcolor=GREY,
    )
