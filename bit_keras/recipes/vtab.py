"""How BiT is fine-tuned on the tasks of VTAB-1k."""

import dataclasses

from bit_keras.recipes.hyperrule import HyperRule

# Height and width in pixels of the images of the tasks with small ones. Everything else
# has images of 96 x 96 pixels or more, which the HyperRule treats alike; the published
# code calls them 224 x 224.
SMALL_IMAGES = {"cifar100": 32, "svhn": 32, "eurosat": 64}
SMALL_IMAGES |= {"dsprites-xpos": 64, "dsprites-orientation": 64}
LARGE_IMAGES = 224
# Tasks that a flip or a crop would spoil.
WITHOUT_FLIP = {"dsprites-xpos", "dsprites-orientation", "smallnorb-azimuth"}
WITHOUT_CROP = {"dsprites-xpos", "clevr-count", "clevr-distance", "dmlab"}
WITHOUT_CROP |= {"kitti-distance"}


def vtab_rule(task, num_examples=1000, rule=HyperRule):
    """Returns the HyperRule for a task of VTAB-1k.

    Args:
        task: Name of the task, as in the names of the published files.
        num_examples: Number of training examples.
        rule: `HyperRule`, or a function of the same (height, width, num_examples).

    Returns:
        A `HyperRule`, without flips and crops where they would spoil the task.

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, appendix F.
    """
    size = SMALL_IMAGES.get(task, LARGE_IMAGES)
    return dataclasses.replace(
        rule(size, size, num_examples),
        flip="none" if task in WITHOUT_FLIP else "random",
        cropping="none" if task in WITHOUT_CROP else "random",
    )
