"""The published figures fit each other, and name weights that there are."""

from bit_keras.export.families import FAMILIES
from bit_keras.models.presets import PRESETS
from bit_keras.published import FIGURES, RULES, TITLES, published


def test_every_figure_is_of_weights_and_tasks_that_there_are():
    handles = {*FAMILIES, "l-r152x4"}
    names = {preset.name.removeprefix("bit_") for preset in PRESETS.values()}
    for figure in FIGURES:
        assert figure.handle in handles
        assert figure.start.replace("-", "_") in names
        assert figure.task in TITLES
        assert figure.rule is None or figure.rule in RULES
        assert (figure.rule is None) == (figure.size is not None)
        assert 0 < figure.value < 100


def test_means_over_all_tasks_follow_from_those_of_the_groups():
    sizes = {"vtab/natural": 7, "vtab/specialized": 4, "vtab/structured": 8}
    for handle in ("m-r101x3-vtab", "m-r152x4-vtab"):
        figures = {figure.task: figure.value for figure in published(handle=handle)}
        mean = sum(figures[task] * count for task, count in sizes.items()) / 19
        # Groups are rounded to two decimals.
        assert abs(mean - figures["vtab"]) < 0.011


def test_figures_are_found_by_what_is_known_of_them():
    [one] = published(start="m-r50x1", task="cifar10", examples_per_class=5)
    assert (one.value, one.what) == (83.3, "CIFAR-10, fine-tuned on 5 examples a class")
    assert one.cited.startswith("big_transfer's README: TF2, batches of 128")
    both = published(start="m-r152x4", task="vtab")
    assert [figure.value for figure in both] == [70.64, 73.51]
    assert published(start="m-r50x3") == []
