"""What an evaluation on VTAB-1k is asked for."""

import dataclasses
import itertools
from collections.abc import Callable

from bit_keras.errors import InputError
from bit_keras.recipes.vtab import vtab_rule
from bit_keras.workflows.options import Options, say_nothing

# Around the rule's rate of 0.003, and its number of steps.
RATES = (0.001, 0.003, 0.01)
STEPS = (500, 2500)


@dataclasses.dataclass(frozen=True)
class VtabOptions(Options):
    """How an evaluation on VTAB-1k is made.

    Args:
        seeds: Number of runs of each task, of the seeds 0, 1, ...
        search: Whether learning rate and number of steps are searched for each task,
            on 800 of its examples, by the accuracy on the other 200. By default they
            are those of the HyperRule.
        rates: Learning rates of the search.
        search_steps: Numbers of steps of the search.
        steps: Number of steps without a search; by default the rule's.
        batch_size: Images in a step; by default the rule's.
        image_size: Pixels that images are cropped to; by default what the rule decides
            for the task.
        data_dir: Folder where TFDS keeps its sets.
        manual_dir: Folder with what TFDS cannot download by itself.
        skip_missing: Whether sets that are not there are left out. By default they are
            downloaded first, and nothing begins if one cannot be.
        batch_split: As in `RunOptions`.
        remat: As in `RunOptions`.
        weights: For models that are names of presets: as in `open_start_model`.
        overwrite: Whether the folder may hold something else.
        progress: Whether to show progress bars.
        say: Called with a line about each thing that is done.
    """

    seeds: int = 1
    search: bool = False
    rates: tuple = RATES
    search_steps: tuple = STEPS
    steps: int | None = None
    batch_size: int | None = None
    image_size: int | None = None
    data_dir: str | None = None
    manual_dir: str | None = None
    skip_missing: bool = False
    batch_split: int = 1
    remat: bool = False
    weights: str | None = None
    overwrite: bool = False
    progress: bool = True
    say: Callable[[str], None] = say_nothing

    def __post_init__(self):
        if not isinstance(self.seeds, int) or self.seeds < 1:
            raise InputError(f"`seeds` must be at least 1. Received: {self.seeds!r}")
        if self.search and self.steps is not None:
            raise InputError(
                "A search chooses the number of steps; give `search_steps` or leave "
                f"`steps`. Received: {self.steps}"
            )
        for name in ("rates", "search_steps"):
            values = tuple(sorted(set(getattr(self, name))))
            if not values or not all(value > 0 for value in values):
                raise InputError(
                    f"`{name}` must be positive numbers. Received: {values}"
                )
            object.__setattr__(self, name, values)

    def candidates(self, task):
        """Returns the recipes to choose from for a task: one without a search.

        Args:
            task: Its name.
        """
        if not self.search:
            return [self._recipe(task, steps=self.steps)]
        return [
            dataclasses.replace(
                self._recipe(task, steps=steps), base_learning_rate=float(rate)
            )
            for steps, rate in itertools.product(self.search_steps, self.rates)
        ]

    def _recipe(self, task, steps):
        rule = vtab_rule(task)
        return rule.scaled(
            steps=steps, batch_size=self.batch_size, crop=self.image_size
        )
