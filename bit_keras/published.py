"""What others have published about these weights: by whom, and of what exactly."""

import dataclasses

README = "big_transfer's README"
PAPER = "BiT paper (arXiv 1912.11370)"
TABLE_1, TABLE_2 = f"{PAPER}, table 1", f"{PAPER}, table 2"
ABSTRACT = f"{PAPER}, abstract"
TIMM = "timm's `results-imagenet.csv`"
DISTILLATION_PAPER = "distillation paper (arXiv 2106.05237)"
STUDENTS = f"{README}, as in the {DISTILLATION_PAPER}"

TITLES = {
    "imagenet2012": "ILSVRC-2012",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "oxford_iiit_pet": "Pets",
    "oxford_flowers102": "Flowers",
    "vtab": "VTAB-1k, mean of 19 tasks",
    "vtab/natural": "VTAB-1k, Natural",
    "vtab/specialized": "VTAB-1k, Specialized",
    "vtab/structured": "VTAB-1k, Structured",
}
LIGHT = "batches of 128, rate 0.001, median of five runs or more"
RULES = {
    "paper": "HyperRule of the paper",
    "pytorch": "PyTorch, HyperRule, one run",
    "tf2-light": f"TF2, {LIGHT}",
    "jax-light": f"JAX, {LIGHT}",
}
"""How the network was fine-tuned, by a short name."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published accuracy.

    Args:
        handle: The family of weights, such as `"m-r50x1"`.
        task: The TFDS name of the set, `"vtab"` or `"vtab/GROUP"`: a key of `TITLES`.
        value: The accuracy in per cent, as published.
        source: Who says so.
        metric: `"top-1"` or `"top-5"`.
        rule: How the network was fine-tuned to the task, a key of `RULES`; `None` for
            weights that were evaluated as they are.
        examples_per_class: Number of examples of each class to fine-tune on; `None` for
            all.
        size: Height and width in pixels of the images, where it is not the rule's.
    """

    handle: str
    task: str
    value: float
    source: str
    metric: str = "top-1"
    rule: str | None = "paper"
    examples_per_class: int | None = None
    size: int | None = None

    @property
    def start(self):
        """The family of weights that were fine-tuned to the task."""
        return self.handle.removesuffix("-vtab")

    @property
    def what(self):
        """What was measured, in a few words."""
        title = TITLES[self.task]
        if self.task.startswith("vtab"):
            return title
        if self.rule is None:
            return f"{title}, {self.metric} at {self.size} px"
        counts = {None: "all examples", 1: "1 example a class"}
        shots = self.examples_per_class
        examples = counts.get(shots, f"{shots} examples a class")
        metric = "" if self.metric == "top-1" else f", {self.metric}"
        return f"{title}, fine-tuned on {examples}{metric}"

    @property
    def cited(self):
        """Who says so, and how the network was fine-tuned where that is special."""
        special = self.source == README and self.rule in RULES
        return f"{self.source}: {RULES[self.rule]}" if special else self.source


def _fine_tuned_by_readme(handle, light, ilsvrc, **tasks):
    """Yields the README's accuracies of BiT-M after fine-tuning."""
    rows = [(task, values, light) for task, values in tasks.items()]
    for task, values, rule in [*rows, ("imagenet2012", ilsvrc, "pytorch")]:
        for shots, value in zip((1, 5, None), values, strict=False):
            yield Figure(
                handle, task, value, README, rule=rule, examples_per_class=shots
            )


def _fine_tuned_by_paper(handle, source, top5, *values):
    """Yields the paper's accuracies of R152x4 after fine-tuning."""
    tasks = ("imagenet2012", "cifar10", "cifar100", "oxford_iiit_pet")
    tasks = (*tasks, "oxford_flowers102", "vtab")
    for task, value in zip(tasks, values, strict=True):
        yield Figure(handle, task, value, source)
        if task == "imagenet2012":
            yield Figure(handle, task, top5, source, metric="top-5")


def _vtab(handle, *values):
    tasks = ("vtab", "vtab/natural", "vtab/specialized", "vtab/structured")
    for task, value in zip(tasks, values, strict=True):
        yield Figure(handle, task, value, f"{README}: runs after the paper's")


def _ilsvrc(handle, value, size, source):
    return Figure(handle, "imagenet2012", value, source, rule=None, size=size)


def _ten_examples(handle, **tasks):
    for task, value in tasks.items():
        yield Figure(handle, task, value, ABSTRACT, examples_per_class=10)


FIGURES = (
    *_fine_tuned_by_paper(
        "s-r152x4", TABLE_2, 95.65, 81.30, 97.51, 86.21, 93.97, 89.89, 66.87
    ),
    *_fine_tuned_by_readme(
        "m-r50x1",
        "tf2-light",
        (18.36, 50.64, 80.68),
        cifar10=(54.4, 83.3, 97.2),
        cifar100=(37.1, 65.0, 86.5),
    ),
    *_fine_tuned_by_readme(
        "m-r101x3",
        "tf2-light",
        (25.55, 64.18),
        cifar10=(55.8, 87.2, 98.5),
        cifar100=(35.7, 70.4, 90.8),
    ),
    *_fine_tuned_by_readme(
        "m-r152x2",
        "jax-light",
        (24.5, 64.5, 85.15),
        cifar10=(56.7, 87.0, 98.5),
        cifar100=(37.2, 70.5, 91.2),
    ),
    *_fine_tuned_by_paper(
        "m-r152x4", TABLE_2, 97.69, 85.39, 98.91, 92.17, 94.46, 99.30, 70.64
    ),
    *_fine_tuned_by_paper(
        "l-r152x4", TABLE_1, 98.46, 87.54, 99.37, 93.51, 96.62, 99.63, 76.29
    ),
    *_ten_examples("l-r152x4", imagenet2012=76.8, cifar10=97.0),
    _ilsvrc("m-r50x1-ilsvrc2012", 80.386, 448, TIMM),
    _ilsvrc("m-r50x3-ilsvrc2012", 83.982, 448, TIMM),
    _ilsvrc("m-r101x1-ilsvrc2012", 82.332, 448, TIMM),
    _ilsvrc("m-r101x3-ilsvrc2012", 84.430, 448, TIMM),
    _ilsvrc("m-r152x2-ilsvrc2012", 84.468, 448, TIMM),
    _ilsvrc("m-r152x4-ilsvrc2012", 84.936, 480, TIMM),
    *_vtab("m-r101x3-vtab", 72.65, 80.29, 85.75, 59.40),
    *_vtab("m-r152x4-vtab", 73.51, 80.77, 85.67, 61.08),
    _ilsvrc("distill-r50x1-160", 80.5, 160, STUDENTS),
    _ilsvrc("distill-r50x1-224", 82.8, 224, STUDENTS),
    _ilsvrc("distill-r50x1-224", 82.820, 224, TIMM),
    _ilsvrc("distill-r152x2-teacher-224", 83.0, 224, DISTILLATION_PAPER),
    _ilsvrc("distill-r152x2-teacher-224", 82.918, 224, TIMM),
    _ilsvrc("distill-r152x2-teacher-384", 84.3, 384, DISTILLATION_PAPER),
    _ilsvrc("distill-r152x2-teacher-384", 83.858, 384, TIMM),
)
"""Every figure that is known here.

timm evaluates in its own way, such as at 448 pixels of the shorter side, so that its
figures are not those of the papers and differ from them by some tenths.
"""


def published(**known):
    """Returns the published figures with certain properties.

    Args:
        **known: Properties of `Figure` and their values.

    Returns:
        A list of `Figure`.

    Example:

    >>> figures = published(start="m-r152x4", task="vtab")
    >>> [f"{figure.what}: {figure.value} %" for figure in figures]
    ['VTAB-1k, mean of 19 tasks: 70.64 %', 'VTAB-1k, mean of 19 tasks: 73.51 %']
    """
    return [
        figure
        for figure in FIGURES
        if all(getattr(figure, name) == value for name, value in known.items())
    ]
