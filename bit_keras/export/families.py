"""Which presets share a folder of exports, and how their weights were trained."""

import dataclasses
import itertools
import json

from bit_keras.models.presets import PRESETS, VTAB, Preset
from bit_keras.recipes.distillation import Distillation
from bit_keras.recipes.hyperrule import HyperRule
from bit_keras.recipes.upstream import ILSVRC_2012, IMAGENET_21K, JFT_300M, Upstream
from bit_keras.recipes.vtab import LARGE_IMAGES, vtab_rule

UPSTREAM = {"s": ILSVRC_2012, "m": IMAGENET_21K, "l": JFT_300M}

OF_THE_PAPER = "The published rules; the log of the run itself is not public."
OF_TEACHERS = (
    "How the teacher was fine-tuned is not published in full, so that only its "
    "upstream training is here."
)
OF_STUDENTS = (
    "The rules of the published configuration; the number of epochs behind this very "
    "file is not known (the paper has 300 to 9600)."
)
OF_LARGE_IMAGES = (
    "A height and width of 224 stands for every size from 96 x 96 pixels on, which the "
    "HyperRule treats alike."
)
# The values of `examples/bit_in_miniature/recipes.py` for 100 epochs.
MINIATURE = Upstream(
    "S",
    74_000,
    batch_size=512,
    base_learning_rate=0.2,
    steps=14_450,
    warmup_steps=722,
    l2=1e-4,
    mixup_alpha=0.1,
    resize=72,
    crop=64,
    cropping="random",
)
OF_MINIATURE = (
    "Upstream set: the 50,000 training images of CIFAR-10 and 80 drawings of each of "
    "300 classes of Quick, Draw!; the other 45 classes, those of the bundled doodles "
    "among them, were never seen.",
    "From random weights, seed 0, in bfloat16 on one NVIDIA H100, in 389 s with four "
    "other trainings beside it; stored in float16.",
    "Top-1 accuracy on the 16,000 test images among all 310 classes: 73.6 %; on the "
    "10,000 of CIFAR-10 alone, among the same classes: 86.3 %.",
    "Made by `python examples/bit_in_miniature/upstream.py --runs=L:R26x0.5 "
    "--epochs=100 --bfloat16 --data_dir=DIR`.",
)


@dataclasses.dataclass(frozen=True)
class Family:
    """Presets that share a folder of exports.

    Args:
        handle: Name of the folder, such as `"m-r50x1"`.
        presets: The presets; more than one in VTAB's families alone.
    """

    handle: str
    presets: tuple[Preset, ...]

    @property
    def kind(self):
        """`"upstream"`, `"ilsvrc2012"`, `"vtab"`, `"student"`, `"teacher"`, `"small"`.

        What decides how the weights were trained.
        """
        parts = self.handle.split("-")
        if parts[0] == "distill":
            return "teacher" if "teacher" in parts else "student"
        if parts[0] == "t":
            return "small"
        return parts[2] if len(parts) > 2 else "upstream"

    def recipe(self):
        """Returns the recipes that these weights were trained with, as far as known.

        Returns:
            A dict of JSON's types: the stages `upstream`, `fine_tuning` and
            `distillation`, where there were any, and `notes`. For VTAB `fine_tuning` is
            a list of tasks with their recipe.
        """
        return _as_json({**self.stages(), "notes": self.notes()})

    def notes(self):
        """Returns sentences on how much is known."""
        return {
            "student": [OF_STUDENTS],
            "teacher": [OF_THE_PAPER, OF_TEACHERS],
            "small": list(OF_MINIATURE),
            "ilsvrc2012": [OF_THE_PAPER, OF_LARGE_IMAGES],
            "vtab": [OF_THE_PAPER, OF_LARGE_IMAGES],
        }.get(self.kind, [OF_THE_PAPER])

    def stages(self):
        """Returns {stage: recipe}; for VTAB, `fine_tuning` is a list by task."""
        if self.kind == "small":
            return {"upstream": MINIATURE}
        if self.kind == "student":
            return {"distillation": _distillation(self.presets[0])}
        letter = "m" if self.kind == "teacher" else self.handle[0]
        upstream = {"upstream": Upstream(letter.upper(), UPSTREAM[letter])}
        if self.kind == "ilsvrc2012":
            large = HyperRule(LARGE_IMAGES, LARGE_IMAGES, ILSVRC_2012)
            return upstream | {"fine_tuning": large}
        if self.kind == "vtab":
            return upstream | {"fine_tuning": _vtab_recipes()}
        return upstream


def handle_of(preset):
    """Returns the name of the folder of a preset's family, such as `"m-r50x1"`."""
    return _split(preset)[0]


def folder_of(preset):
    """Returns the folder of a preset's exports, such as `"m-r50x1"`.

    Where a family has several presets it lies in that of the family.
    """
    return "/".join(filter(None, _split(preset)))


def _split(preset):
    """Returns the handle, and what tells a preset from others of its family."""
    name = preset.name.removeprefix("bit_").replace("_", "-")
    architecture, is_vtab, run = name.partition("-vtab-")
    return (f"{architecture}-vtab", run) if is_vtab else (name, "")


def recipe_of(preset):
    """Returns how the weights of a preset were trained, as far as known.

    Args:
        preset: A `Preset`.

    Returns:
        As `Family.recipe`, but for VTAB with the recipe of the preset's task alone.
    """
    recipe = Family(handle_of(preset), (preset,)).recipe()
    if isinstance(recipe.get("fine_tuning"), list):
        task = preset.published_name.split("-", maxsplit=4)[-1]
        [recipe["fine_tuning"]] = (
            group["recipe"] for group in recipe["fine_tuning"] if task in group["tasks"]
        )
    return recipe


def _distillation(student):
    return Distillation(
        "i1k", 1_255_544, resize=student.crop_from, crop=student.image_size
    )


def _vtab_recipes():
    """Returns the tasks of VTAB, those with one recipe together."""
    recipes = {}
    for task in VTAB:
        recipes.setdefault(vtab_rule(task), []).append(task)
    return [{"tasks": tasks, "recipe": recipe} for recipe, tasks in recipes.items()]


def _as_json(value):
    """Returns recipes and what they are in as JSON's types."""

    def describe(recipe):
        return {"kind": type(recipe).__name__, **recipe.to_dict()}

    return json.loads(json.dumps(value, default=describe))


FAMILIES = {
    handle: Family(handle, tuple(presets))
    for handle, presets in itertools.groupby(PRESETS.values(), handle_of)
    # Those of JFT-300M were never published.
    if not handle.startswith("l-")
}
"""Every family with a model card, by handle."""
