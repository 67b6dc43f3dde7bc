"""The look that all pictures share, and a few helpers to keep to it.

Figures are objects of their own: no window, and no lasting change to the settings or to
the pyplot state of the program that calls.
"""

import functools

from bit_keras.files import replaced

# From the palette of Okabe and Ito, which the colour-blind can tell apart; green and
# vermilion are darkened until they can be read as text on white.
BLUE, GREEN, VERMILION = "#0072B2", "#007A5A", "#C24E00"
INK, GREY, HAIRLINE = "#222222", "#6B6B6B", "#E4E4E4"
SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    # Class names may hold dollar signs.
    "text.parse_math": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.left": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
}


def styled(draw):
    """Makes a function draw under these settings, whatever its caller has set."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(SETTINGS)
            return draw(*args, **kwargs)

    return styled


def save(figure, path):
    """Writes the figure with all that lies around its axes."""
    with replaced(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=150, bbox_inches="tight", pad_inches=0.25
        )


def inch_axes(figure, left, top, width, height):
    """Adds axes placed in inches from the left and upper edge of the figure."""
    full_width, full_height = figure.get_size_inches()
    bottom = full_height - top - height
    return figure.add_axes(
        (
            left / full_width,
            bottom / full_height,
            width / full_width,
            height / full_height,
        )
    )


def write(axes, text, at, offset, coords="axes fraction", **kwargs):
    """Writes a text at an offset in points from a place."""
    axes.annotate(text, at, offset, coords, textcoords="offset points", **kwargs)


def header(axes, title, subtitle, gap):
    """Writes a title and a line below it, left-aligned, `gap` points above the axes."""
    write(axes, title, (0, 1), (0, gap + 14), fontsize=12, fontweight="bold")
    write(axes, subtitle, (0, 1), (0, gap), color=GREY)


def percent(share, digits=1):
    """Writes a share as `87.5 %`."""
    return f"{100 * share:.{digits}f} %"


def text_width(text, weight="normal"):
    """Returns the width of a line of 8 points in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties("DejaVu Sans", weight=weight, size=SETTINGS["font.size"])
    return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def fit(text, inches, weight="normal"):
    """Returns the text in one line, cut with an ellipsis where it is too long."""
    text = " ".join(text.split())
    if text_width(text, weight) <= inches:
        return text
    while text and text_width(text + "…", weight) > inches:
        text = text[:-1].rstrip()
    return text + "…"
