"""The published tables of transfer, as the experiments that would fill them again."""

import dataclasses

from bit_keras.evaluation.vtab import TASKS
from bit_keras.models.presets import get_preset
from bit_keras.published import (
    ABSTRACT,
    FIGURES,
    TABLE_1,
    TABLE_2,
    TITLES,
    Figure,
)
from bit_keras.recipes.hyperrule import HyperRule, as_published
from bit_keras.recipes.vtab import vtab_rule

VTAB = "vtab"
# Those of the paper's R152x4, in place of the ones in its text.
LARGEST_SIZES = {"resize": 512, "crop": 480}
# A step backwards costs about twice as much as one forwards.
PASSES = 3
# What an experiment on few examples is repeated with.
SEEDS = 5
MEASURED_IMAGES_PER_SECOND = 6641
"""Images of 224 x 224 pixels a second in training R50x1 by one H100, as measured.

In bfloat16, 128 in a step: `benchmarks/compare-h100.json`.
"""


@dataclasses.dataclass(frozen=True)
class TransferSet:
    """A set of images that the paper transfers to, as far as a plan has to know it.

    Args:
        num_classes: Number of classes.
        num_train: Number of training images, those of the split `train`.
        num_test: Number of test images.
        height: Usual height of the images in pixels.
        width: Usual width of the images in pixels.
    """

    num_classes: int
    num_train: int
    num_test: int
    height: int = 224
    width: int = 224


SETS = {
    "imagenet2012": TransferSet(1000, 1_281_167, 50_000),
    "cifar10": TransferSet(10, 50_000, 10_000, 32, 32),
    "cifar100": TransferSet(100, 50_000, 10_000, 32, 32),
    "oxford_iiit_pet": TransferSet(37, 3680, 3669),
    "oxford_flowers102": TransferSet(102, 1020, 6149),
}
"""The sets by their TFDS names; large images count as 224 x 224 pixels."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model, a set and a rule, by which published accuracies can be tried anew.

    Args:
        start: Family of the weights to start from, such as `"m-r50x1"`.
        dataset: A key of `SETS`, or `"vtab"` for all of its tasks.
        rule: A key of `RULES`.
        examples_per_class: Number of examples of each class to train on; `None` for
            all.
        figures: The published ones, each a `Figure`.
    """

    start: str
    dataset: str
    rule: str
    examples_per_class: int | None
    figures: tuple[Figure, ...]

    @property
    def preset(self):
        """The `Preset` of the weights to start from."""
        return get_preset(f"bit_{self.start}")

    @property
    def name(self):
        """A name that can be that of a file, such as `"m-r50x1-cifar10-5-shot"`."""
        shots = self.examples_per_class
        ending = f"-{shots}-shot" if shots else ""
        return f"{self.start}-{self.dataset}{ending}"

    @property
    def kind(self):
        """`"vtab"`, `"fewshot"` or `"finetune"`: the workflow that carries it out."""
        if self.dataset == VTAB:
            return VTAB
        return "fewshot" if self.examples_per_class else "finetune"

    @property
    def title(self):
        """Model and set, in a few words."""
        task = "VTAB-1k" if self.dataset == VTAB else TITLES[self.dataset]
        shots = self.examples_per_class
        ending = f", {shots} a class" if shots else ""
        return f"{self.preset.published_name} on {task}{ending}"

    def recipe(self, height, width, num_examples):
        """Returns the `HyperRule` of the published run.

        Args:
            height: Usual height of the set's images in pixels.
            width: Usual width of the set's images in pixels.
            num_examples: Number of training examples.
        """
        if self.rule == "paper":
            recipe = HyperRule(height, width, num_examples, variant="paper")
            is_largest = self.start.endswith("r152x4") and recipe.resize > 160
            return dataclasses.replace(recipe, **LARGEST_SIZES if is_largest else {})
        publication, _, is_light = self.rule.partition("-")
        said = as_published(publication)
        changes = {name: said[name] for name in ("momentum_form", "flip")}
        changes["mixup_partner"] = said["mixup_partner"]
        if is_light:
            changes |= {"batch_size": 128, "base_learning_rate": 0.001}
        return dataclasses.replace(HyperRule(height, width, num_examples), **changes)

    def recipes(self):
        """Returns the recipe of each run in it: 19 for VTAB, five on few examples."""
        if self.dataset == VTAB:
            return [vtab_rule(task) for task in TASKS]
        facts, shots = SETS[self.dataset], self.examples_per_class
        count = shots * facts.num_classes if shots else facts.num_train
        recipe = self.recipe(facts.height, facts.width, count)
        return [recipe] * (SEEDS if shots else 1)

    def hours(self, images_per_second=MEASURED_IMAGES_PER_SECOND):
        """Estimates the hours that it takes, at a constant rate of computing.

        Args:
            images_per_second: Images of 224 x 224 pixels that the machine trains R50x1
                with, as `bit-keras benchmark` measures.
        """
        reference = get_preset("bit_s_r50x1").architecture
        rate = images_per_second * PASSES * reference.multiply_adds(224, 224)
        tests = (
            [task.data.num_test for task in TASKS.values()]
            if self.dataset == VTAB
            else [SETS[self.dataset].num_test] * len(self.recipes())
        )
        network = self.preset.architecture
        work = sum(
            network.multiply_adds(recipe.crop, recipe.crop)
            * (PASSES * recipe.steps * recipe.batch_size + num_test)
            for recipe, num_test in zip(self.recipes(), tests, strict=True)
        )
        return work / rate / 3600


def _experiments(figures):
    """Returns the experiments behind figures, each once."""
    groups = {}
    for figure in figures:
        dataset = figure.task.split("/")[0]
        key = figure.start, dataset, figure.rule, figure.examples_per_class
        groups.setdefault(key, []).append(figure)
    return tuple(Experiment(*key, tuple(group)) for key, group in groups.items())


def _of(*sources):
    return [figure for figure in FIGURES if figure.source in sources]


_BY_RULE = [
    figure
    for figure in FIGURES
    if figure.rule in ("tf2-light", "jax-light", "pytorch") or figure.source == ABSTRACT
]
TABLES = {
    "table1": _experiments(_of(TABLE_1)),
    "table2": _experiments(_of(TABLE_2)),
    "fewshot": _experiments(_BY_RULE),
    "vtab": _experiments(f for f in FIGURES if f.task.split("/")[0] == VTAB),
}
"""The experiments of each table.

Those of the paper, of few examples by big_transfer's README and the paper's abstract,
and of VTAB-1k by both. Pets and Flowers are trained on their split `train`, as in
big_transfer's code.
"""
