"""Files that come with the package."""

import pathlib


def doodles_folder():
    """Returns the folder of the bundled image set: 20 classes of drawings."""
    return pathlib.Path(__file__).with_name("doodles")
