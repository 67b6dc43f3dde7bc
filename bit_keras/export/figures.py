"""What others have published about these weights: by whom, and of what exactly."""

import dataclasses

README = "big_transfer's README"
PAPER = "BiT paper (arXiv 1912.11370), table 2"
TIMM = "timm's `results-imagenet.csv`"
DISTILLATION_PAPER = "distillation paper (arXiv 2106.05237)"
STUDENTS = f"{README}, as in the {DISTILLATION_PAPER}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published figure.

    Args:
        what: What was measured.
        value: The figure, as published.
        source: Who says so.
    """

    what: str
    value: str
    source: str


def _fine_tuned_by_readme(cifar10, cifar100, implementation, ilsvrc=()):
    """Returns the README's accuracies of BiT-M after fine-tuning, in per cent."""
    shots = ("1 example a class", "5 examples a class", "all examples")
    light = f"{implementation}, batches of 128, rate 0.001, median of five runs or more"
    rows = [
        ("CIFAR-10", cifar10, light),
        ("CIFAR-100", cifar100, light),
        ("ILSVRC-2012", ilsvrc, "PyTorch, HyperRule, one run"),
    ]
    return [
        Figure(f"{data}, fine-tuned on {shot}", f"{value} %", f"{README}: {setting}")
        for data, values, setting in rows
        for shot, value in zip(shots, values, strict=False)
    ]


def _fine_tuned_by_paper(*values):
    """Returns the paper's accuracies of R152x4 after fine-tuning, in per cent."""
    tasks = (
        "ILSVRC-2012, fine-tuned, top-1",
        "ILSVRC-2012, fine-tuned, top-5",
        "CIFAR-10, fine-tuned",
        "CIFAR-100, fine-tuned",
        "Pets, fine-tuned",
        "Flowers, fine-tuned",
        "VTAB-1k, mean of 19 tasks",
    )
    return [
        Figure(task, f"{value} %", PAPER)
        for task, value in zip(tasks, values, strict=True)
    ]


def _vtab(*values):
    tasks = ("mean of 19 tasks", "Natural", "Specialized", "Structured")
    return [
        Figure(f"VTAB-1k, {task}", f"{value} %", f"{README}: runs after the paper's")
        for task, value in zip(tasks, values, strict=True)
    ]


def _ilsvrc(value, size, source):
    return Figure(f"ILSVRC-2012, top-1 at {size} px", f"{value} %", source)


FIGURES = {
    "s-r152x4": _fine_tuned_by_paper(81.30, 95.65, 97.51, 86.21, 93.97, 89.89, 66.87),
    "m-r50x1": _fine_tuned_by_readme(
        (54.4, 83.3, 97.2), (37.1, 65.0, 86.5), "TF2", (18.36, 50.64, 80.68)
    ),
    "m-r101x3": _fine_tuned_by_readme(
        (55.8, 87.2, 98.5), (35.7, 70.4, 90.8), "TF2", (25.55, 64.18)
    ),
    "m-r152x2": _fine_tuned_by_readme(
        (56.7, 87.0, 98.5), (37.2, 70.5, 91.2), "JAX", (24.5, 64.5, 85.15)
    ),
    "m-r152x4": _fine_tuned_by_paper(85.39, 97.69, 98.91, 92.17, 94.46, 99.30, 70.64),
    "m-r50x1-ilsvrc2012": [_ilsvrc(80.386, 448, TIMM)],
    "m-r50x3-ilsvrc2012": [_ilsvrc(83.982, 448, TIMM)],
    "m-r101x1-ilsvrc2012": [_ilsvrc(82.332, 448, TIMM)],
    "m-r101x3-ilsvrc2012": [_ilsvrc(84.430, 448, TIMM)],
    "m-r152x2-ilsvrc2012": [_ilsvrc(84.468, 448, TIMM)],
    "m-r152x4-ilsvrc2012": [_ilsvrc(84.936, 480, TIMM)],
    "m-r101x3-vtab": _vtab(72.65, 80.29, 85.75, 59.40),
    "m-r152x4-vtab": _vtab(73.51, 80.77, 85.67, 61.08),
    "distill-r50x1-160": [_ilsvrc(80.5, 160, STUDENTS)],
    "distill-r50x1-224": [
        _ilsvrc(82.8, 224, STUDENTS),
        _ilsvrc(82.820, 224, TIMM),
    ],
    "distill-r152x2-teacher-224": [
        _ilsvrc(83.0, 224, DISTILLATION_PAPER),
        _ilsvrc(82.918, 224, TIMM),
    ],
    "distill-r152x2-teacher-384": [
        _ilsvrc(84.3, 384, DISTILLATION_PAPER),
        _ilsvrc(83.858, 384, TIMM),
    ],
}
"""Figures by the handle of a family; of the others none are known here.

timm evaluates in its own way, such as at 448 pixels of the shorter side, so that its
figures are not those of the papers and differ from them by some tenths.
"""
