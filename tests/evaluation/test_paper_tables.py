"""The experiments of the published tables, from what the publications say."""

import pytest

from bit_keras.evaluation.paper_tables import SETS, TABLES, Experiment
from bit_keras.models.presets import get_preset
from bit_keras.published import FIGURES

ALL = {e.name: e for experiments in TABLES.values() for e in experiments}


def test_every_accuracy_after_fine_tuning_has_its_experiment():
    of_tables = {f for es in TABLES.values() for e in es for f in e.figures}
    assert of_tables == {figure for figure in FIGURES if figure.rule is not None}
    for table, experiments in TABLES.items():
        names = [experiment.name for experiment in experiments]
        assert len(set(names)) == len(names), table
    assert [f.value for f in ALL["m-r101x3-vtab"].figures] == [
        72.65,
        80.29,
        85.75,
        59.4,
    ]


def test_the_largest_model_has_its_own_sizes():
    recipe = ALL["m-r152x4-oxford_iiit_pet"].recipe(224, 224, 3680)
    assert (recipe.resize, recipe.crop, recipe.steps) == (512, 480, 500)
    assert recipe.decay_steps == (150, 300, 450)
    recipe = ALL["m-r152x4-cifar10"].recipe(32, 32, 50_000)
    assert (recipe.resize, recipe.crop, recipe.steps) == (160, 128, 10_000)


def test_the_readme_has_smaller_batches_and_its_programs_rules():
    tf2 = ALL["m-r50x1-cifar10-5-shot"].recipe(32, 32, 50)
    assert (tf2.batch_size, tf2.base_learning_rate, tf2.steps) == (128, 0.001, 500)
    assert (tf2.momentum_form, tf2.flip) == ("inside", "always")
    jax = ALL["m-r152x2-cifar100"].recipe(32, 32, 50_000)
    assert (jax.batch_size, jax.momentum_form, jax.flip) == (128, "outside", "always")
    assert jax.steps == 10_000 and jax.decay_steps == (3000, 6000, 9000)
    torch = ALL["m-r50x1-imagenet2012"].recipe(224, 224, 1_281_167)
    assert (torch.batch_size, torch.flip, torch.steps) == (512, "random", 20_000)
    assert torch.mixup_partner == "permutation"


def test_hours_are_those_of_the_operations():
    one = ALL["m-r50x1-cifar10"]
    # 10,000 steps of 128 images and the test images, which cost a third.
    images = 10_000 * 128 + 10_000 / 3
    at_128, at_224 = (
        get_preset(name).architecture.multiply_adds(size, size)
        for name, size in (("bit_m_r50x1", 128), ("bit_s_r50x1", 224))
    )
    assert one.hours(1000) == pytest.approx(images * at_128 / at_224 / 1000 / 3600)
    five = ALL["m-r50x1-cifar10-1-shot"]
    images = 5 * (500 * 128 + 10_000 / 3)
    assert five.hours(1000) == pytest.approx(images * at_128 / at_224 / 1000 / 3600)
    assert ALL["m-r152x4-vtab"].hours() > 19 * one.hours()


def test_what_is_said_of_the_sets_is_what_tfds_says():
    tfds = pytest.importorskip("tensorflow_datasets")
    for name, facts in SETS.items():
        features = tfds.builder(name).info.features
        assert features["label"].num_classes == facts.num_classes
        shape = features["image"].shape[:2]
        assert shape in ((None, None), (facts.height, facts.width))


def test_names_and_kinds():
    kinds = {name: experiment.kind for name, experiment in ALL.items()}
    assert kinds["l-r152x4-cifar10-10-shot"] == "fewshot"
    assert kinds["l-r152x4-cifar10"] == "finetune"
    assert kinds["s-r152x4-vtab"] == "vtab"
    one = Experiment("m-r50x1", "cifar100", "paper", 1, ())
    assert one.title == "BiT-M-R50x1 on CIFAR-100, 1 a class"
