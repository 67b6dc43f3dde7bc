import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.errors import InputError
from bit_keras.recipes.hyperrule import (
    DIFFERENCES,
    PUBLICATIONS,
    VARIANTS,
    HyperRule,
    as_published,
)
from bit_keras.recipes.optimizers import MomentumSGD

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "parity" / "golden.npz")
SIZES = sorted(
    int(name.split("/")[1])
    for name in GOLDEN.files
    if name.startswith("hyperrule/") and name.endswith("/lr")
)


@pytest.mark.parametrize("num_examples", SIZES)
def test_the_learning_rate_of_every_step_is_the_published_one(num_examples):
    recipe = HyperRule(32, 32, num_examples)
    steps = GOLDEN[f"hyperrule/{num_examples}/steps"]
    expected = GOLDEN[f"hyperrule/{num_examples}/lr"]
    in_training = steps < recipe.steps
    # The reference has no rate any more where training is over.
    np.testing.assert_array_equal(np.isnan(expected), ~in_training)
    actual = tf.vectorized_map(recipe.learning_rate, tf.constant(steps[in_training]))
    np.testing.assert_allclose(actual, expected[in_training], rtol=1e-6)
    supports = GOLDEN[f"hyperrule/{num_examples}/supports"]
    ours = [recipe.warmup_steps, *recipe.decay_steps, recipe.steps]
    np.testing.assert_array_equal(ours, supports)


def test_schedule_and_mixup_by_number_of_examples():
    for num_examples, schedule, alpha in zip(
        GOLDEN["hyperrule/sizes"],
        GOLDEN["hyperrule/sizes_schedule"],
        GOLDEN["hyperrule/sizes_mixup"],
        strict=True,
    ):
        recipe = HyperRule(32, 32, int(num_examples))
        ours = [recipe.warmup_steps, *recipe.decay_steps, recipe.steps]
        np.testing.assert_array_equal(ours, schedule)
        assert recipe.mixup_alpha == alpha


def test_sizes_by_the_area_of_the_images():
    for (height, width), sizes in zip(
        GOLDEN["hyperrule/resolutions"],
        GOLDEN["hyperrule/resolutions_crops"],
        strict=True,
    ):
        recipe = HyperRule(int(height), int(width), 1000)
        assert [recipe.resize, recipe.crop] == list(sizes)
    assert HyperRule(96, 96, 1).crop == 480
    assert HyperRule(96, 95, 1).crop == 128


def test_the_differences_are_those_of_the_publications():
    """Read off the sources once more, by hand: each is one value of the table."""
    assert PUBLICATIONS == ("paper", "jax", "pytorch", "tf2")
    assert as_published("paper") == {
        "large_sizes": (448, 384),
        "small_decays": (30, 60, 90),
        "momentum_form": "outside",
        "flip": "random",
        "mixup_partner": None,
    }
    tf2 = as_published("tf2")
    assert tf2 == {
        "large_sizes": (512, 480),
        "small_decays": (40, 60, 80),
        "momentum_form": "inside",
        "flip": "always",
        "mixup_partner": "reversal",
    }
    assert as_published("jax") == tf2 | {"momentum_form": "outside"}
    pytorch = {"flip": "random", "mixup_partner": "permutation"}
    assert as_published("pytorch") == as_published("jax") | pytorch
    # What a variant stands for is the same in all programs.
    for decision in ("large_sizes", "small_decays"):
        assert len(set(DIFFERENCES[decision][1:])) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_its_sizes_and_decays(variant):
    published = as_published(VARIANTS[variant])
    small = HyperRule(96, 96, 19_999, variant=variant)
    assert (small.resize, small.crop) == published["large_sizes"]
    assert small.decay_steps == tuple(5 * p for p in published["small_decays"])
    # Nothing else: neither small images nor larger tasks.
    for size in (20_000, 500_000):
        in_code = HyperRule(32, 32, size)
        assert dataclasses.replace(in_code, variant=variant) == HyperRule(
            32, 32, size, variant=variant
        )


@pytest.mark.parametrize("publication", PUBLICATIONS)
def test_each_publication_can_be_followed(publication):
    published = as_published(publication)
    sizes, decays = published.pop("large_sizes"), published.pop("small_decays")
    variant = next(
        name
        for name, source in VARIANTS.items()
        if as_published(source)["large_sizes"] == sizes
    )
    stated = {name: value for name, value in published.items() if value}
    recipe = HyperRule(200, 200, 1000, variant=variant, **stated)
    assert (recipe.resize, recipe.crop) == sizes
    assert recipe.decay_steps == tuple(recipe.steps * p // 100 for p in decays)
    assert recipe.compile_args()["optimizer"].form == published["momentum_form"]


@pytest.mark.parametrize(
    ("variant", "decays"), [("code", (200, 300, 400)), ("paper", (150, 300, 450))]
)
def test_the_rate_at_the_boundary_steps_of_a_small_task(variant, decays):
    rate = HyperRule(32, 32, 1000, variant=variant).learning_rate
    assert [float(rate(step)) for step in (0, 99, 100)] == pytest.approx(
        [0, 0.00297, 0.003]
    )
    for number, boundary in enumerate(decays):
        before, after = float(rate(boundary)), float(rate(boundary + 1))
        assert before == pytest.approx(0.003 / 10**number)
        assert after == pytest.approx(0.003 / 10 ** (number + 1))
    assert float(rate(499)) == pytest.approx(3e-6)


def test_compile_arguments_are_those_of_the_rule():
    arguments = HyperRule(32, 32, 50_000).compile_args()
    names = {"optimizer", "loss", "weighted_metrics", "jit_compile"}
    assert set(arguments) == names
    optimizer = arguments["optimizer"]
    assert isinstance(optimizer, MomentumSGD)
    assert (optimizer.momentum, optimizer.form) == (0.9, "outside")
    assert (optimizer.l2, optimizer.weight_decay) == (0, None)
    inside = HyperRule(32, 32, 50_000, momentum_form="inside").compile_args()
    assert inside["optimizer"].form == "inside"
    assert arguments["weighted_metrics"] == ["accuracy"]
    logits, labels = np.array([[1.0, 2.0]]), np.array([[0.25, 0.75]])
    expected = np.log(np.exp(1) + np.exp(2)) - (0.25 * 1 + 0.75 * 2)
    assert float(arguments["loss"](labels, logits)) == pytest.approx(expected)
    assert arguments["jit_compile"] is True
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        assert HyperRule(32, 32, 50_000).compile_args()["jit_compile"] == "auto"


def test_warm_up_and_decays_follow_the_number_of_steps():
    recipe = HyperRule(32, 32, 1000, steps=50)
    assert (recipe.warmup_steps, recipe.decay_steps) == (10, (20, 30, 40))
    assert recipe == HyperRule(32, 32, 1000).scaled(steps=50)
    own = HyperRule(32, 32, 1000, steps=50, warmup_steps=0, decay_steps=[7])
    assert (own.warmup_steps, own.decay_steps) == (0, (7,))


def test_the_light_setting_is_the_rule_scaled():
    rule = HyperRule(28, 28, 800)
    for sizes, rate, from_scratch in (
        ({"batch_size": 64, "steps": 75, "resize": 72, "crop": 64}, 0.02, False),
        ({"batch_size": 64, "steps": 300, "resize": 36, "crop": 32}, 0.05, True),
    ):
        light = HyperRule.light(28, 28, 800, from_scratch)
        scaled = rule.scaled(**sizes)
        assert light == dataclasses.replace(scaled, base_learning_rate=rate)
        assert light.warmup_steps == light.steps / 5
        assert light.decay_steps == tuple(light.steps * d / 10 for d in (4, 6, 8))


def test_a_report_gives_the_recipe_back():
    sizes = np.array([32, 32, 50_000])
    recipe = HyperRule(*sizes).scaled(batch_size=np.int64(64))
    assert HyperRule(**json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_description_says_whether_it_is_the_rule():
    rule = HyperRule(32, 32, 50_000)
    assert rule.describe() == (
        "BiT-HyperRule: 10,000 steps of 512 images at 128 px, learning rate 0.003, "
        "MixUp 0.1"
    )
    light = HyperRule.light(28, 28, 800)
    lightly = "light setting of the BiT-HyperRule: 75 steps of"
    assert light.describe().startswith(lightly)
    paper = HyperRule(32, 32, 50_000, variant="paper")
    assert paper.describe().startswith("BiT-HyperRule of the paper: 10,000 steps")
    larger = rule.scaled(batch_size=1024)
    assert larger.describe().startswith("changed setting of the BiT-HyperRule")
    assert json.loads(json.dumps(light.to_dict()))["crop"] == light.crop


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "`height`.*Received: 0"),
        ({"num_examples": 10.5}, "`num_examples`.*Received: 10.5"),
        ({"batch_size": -1}, "`batch_size`.*Received: -1"),
        ({"steps": 0}, "`steps`.*Received: 0"),
        ({"crop": 64, "resize": 32}, "crop=64, resize=32"),
        ({"height": None}, "`height`.*Received: None"),
        ({"warmup_steps": -1}, "`warmup_steps`.*Received: -1"),
        ({"decay_steps": (3, 2)}, "`decay_steps`.*Received: "),
        ({"decay_steps": 3}, "`decay_steps`.*Received: 3"),
        ({"warmup_steps": 500}, "warmup_steps=500, steps=500"),
        ({"mixup_alpha": -0.1}, "`mixup_alpha`.*Received: -0.1"),
        ({"mixup_alpha": "0.1"}, "`mixup_alpha`.*Received: '0.1'"),
        ({"variant": "tf2"}, "`variant` must be one of code, paper. Received: 'tf2'"),
        ({"momentum_form": None}, "`momentum_form`.*Received: None"),
        ({"flip": True}, "`flip`.*random, always, none.*Received: True"),
        ({"cropping": "centre"}, "`cropping`.*Received: 'centre'"),
        ({"mixup_partner": "next"}, "`mixup_partner`.*Received: 'next'"),
        ({"eval_resize": 0}, "`eval_resize`.*Received: 0"),
        ({"eval_resize": 100}, "crop=128, eval_resize=100"),
        ({"base_learning_rate": 0}, "`base_learning_rate`.*Received: 0"),
        ({"base_learning_rate": float("nan")}, "`base_learning_rate`.*Received: nan"),
    ],
)
def test_impossible_values_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        HyperRule(**({"height": 32, "width": 32, "num_examples": 100} | arguments))
