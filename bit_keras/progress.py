"""The bar that people see while something takes long."""

import sys


def progress_bar(description, total, unit, start=0, show=True):
    """Returns a bar on standard error with the speed and the time left.

    Args:
        description: What is being done.
        total: How many units there are, or `None` if that is not known.
        unit: What is counted, such as `"B"` or `" images"`.
        start: How many were done before.
        show: Whether there is anything to see at all.

    Returns:
        A `tqdm.tqdm`: a context manager with `update(count)` and `set_postfix`.
    """
    from tqdm import tqdm

    return tqdm(
        desc=description,
        total=total,
        initial=start,
        unit=unit,
        unit_scale=True,
        disable=not show,
        # A log file needs a line now and then, not one in each tenth of a second.
        mininterval=0.1 if sys.stderr.isatty() else 10,
    )
