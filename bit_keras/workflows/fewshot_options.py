"""What a few-shot evaluation is asked for."""

import dataclasses
from collections.abc import Callable

from bit_keras.errors import InputError
from bit_keras.evaluation.fewshot import L2
from bit_keras.workflows.finetune import choose_recipe
from bit_keras.workflows.options import Options, say_nothing

SHOTS = (1, 5, 10, 25, 100)
SEEDS = 5
METHODS = ("probe", "finetune", "both")


@dataclasses.dataclass(frozen=True)
class FewShotOptions(Options):
    """How a few-shot evaluation is made.

    Args:
        shots: Numbers of examples of each class.
        seeds: Number of subsets of each size, of the seeds 0, 1, ...; of one seed,
            fewer examples are among more.
        method: `"probe"`, a linear classifier of frozen features; `"finetune"`, all of
            the network by the HyperRule; or `"both"`.
        data_dir: Folder where TFDS keeps its sets.
        image_size: Pixels that images are resized to, for both methods; by default what
            the recipe decides for the set.
        recipe: Setting of the fine-tuning, as in `choose_recipe`.
        steps: Steps of the fine-tuning; by default the recipe's.
        batch_size: Images in a step; by default the recipe's.
        l2: Strengths of the probe's regularization.
        batch_split: As in `RunOptions`.
        remat: As in `RunOptions`.
        weights: For models that are names of presets: as in `open_start_model`.
        overwrite: Whether the folder may hold something else.
        progress: Whether to show progress bars.
        say: Called with a line about each thing that is done.
    """

    shots: tuple = SHOTS
    seeds: int = SEEDS
    method: str = "both"
    data_dir: str | None = None
    image_size: int | None = None
    recipe: str = "auto"
    steps: int | None = None
    batch_size: int | None = None
    l2: tuple = (L2,)
    batch_split: int = 1
    remat: bool = False
    weights: str | None = None
    overwrite: bool = False
    progress: bool = True
    say: Callable[[str], None] = say_nothing

    def __post_init__(self):
        for name in ("shots", "l2"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        if not self.shots or not all(_is_count(count) for count in self.shots):
            raise InputError(
                "`shots` must be numbers of examples of each class, at least 1. "
                f"Received: {self.shots}"
            )
        if not _is_count(self.seeds):
            raise InputError(f"`seeds` must be at least 1. Received: {self.seeds!r}")
        if self.method not in METHODS:
            raise InputError(
                f"`method` must be one of {METHODS}. Received: {self.method!r}"
            )
        if not self.l2 or not all(strength > 0 for strength in self.l2):
            raise InputError(f"`l2` must be positive numbers. Received: {self.l2}")

    def recipe_of(self, source, from_scratch=False):
        """Returns the recipe for a set."""
        return choose_recipe(
            source,
            self.recipe,
            from_scratch,
            steps=self.steps,
            batch_size=self.batch_size,
            crop=self.image_size,
        )


def _is_count(number):
    return isinstance(number, int) and number >= 1
