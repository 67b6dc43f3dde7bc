import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.recipes.hyperrule import LIGHT, HyperRule

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


@settings(max_examples=100, deadline=None)
@given(steps=st.integers(1, 5000))
def test_epochs_make_up_exactly_all_steps(steps):
    arguments = HyperRule(32, 32, 1000).scaled(steps=steps).fit_args()
    assert arguments["epochs"] * arguments["steps_per_epoch"] == steps
    assert 1 <= arguments["epochs"] <= 10


@settings(max_examples=50, deadline=None)
@given(factor=st.integers(1, 64), divisor=st.integers(1, 25))
def test_scaling_is_in_proportion(factor, divisor):
    rule = HyperRule(32, 32, 1000)
    scaled = rule.scaled(batch_size=factor * 8, steps=500 // divisor)
    rate_per_example = scaled.base_learning_rate / scaled.batch_size
    assert rate_per_example == pytest.approx(0.003 / 512)
    given_steps = np.array([*scaled.decay_steps, scaled.warmup_steps])
    wanted = np.array([200, 300, 400, 100]) * scaled.steps / 500
    assert np.abs(given_steps - wanted).max() <= 0.5
    assert (scaled.resize, scaled.crop) == (160, 128)
    assert rule.scaled() == rule


def test_compile_arguments_are_those_of_the_rule():
    arguments = HyperRule(32, 32, 50_000).compile_args()
    optimizer = arguments["optimizer"]
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, False)
    assert optimizer.weight_decay is None
    logits, labels = np.array([[1.0, 2.0]]), np.array([[0.25, 0.75]])
    expected = np.log(np.exp(1) + np.exp(2)) - (0.25 * 1 + 0.75 * 2)
    assert float(arguments["loss"](labels, logits)) == pytest.approx(expected)
    assert arguments["jit_compile"]
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        assert not HyperRule(32, 32, 50_000).compile_args()["jit_compile"]


def test_warm_up_and_decays_follow_the_number_of_steps():
    recipe = HyperRule(32, 32, 1000, steps=50)
    assert (recipe.warmup_steps, recipe.decay_steps) == (10, (20, 30, 40))
    assert recipe == HyperRule(32, 32, 1000).scaled(steps=50)
    own = HyperRule(32, 32, 1000, steps=50, warmup_steps=0, decay_steps=[7])
    assert (own.warmup_steps, own.decay_steps) == (0, (7,))


def test_the_light_setting_is_the_rule_scaled():
    light = HyperRule.light(28, 28, 800)
    assert light == HyperRule(28, 28, 800).scaled(**LIGHT)
    scratch = HyperRule.light(28, 28, 800, from_scratch=True)
    rate = scratch.base_learning_rate
    assert scratch == dataclasses.replace(light, base_learning_rate=rate)


@pytest.mark.parametrize("name", ["batch_size", "steps", "resize", "crop"])
def test_scaling_to_nothing_is_refused(name):
    with pytest.raises(InputError, match=f"`{name}`.*Received: 0"):
        HyperRule(32, 32, 1000).scaled(**{name: 0})


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
    lightly = f"light setting of the BiT-HyperRule: {LIGHT['steps']} steps of"
    assert light.describe().startswith(lightly)
    larger = rule.scaled(batch_size=1024)
    assert larger.describe().startswith("changed setting of the BiT-HyperRule")
    scratch = HyperRule.light(28, 28, 800, from_scratch=True)
    assert scratch.base_learning_rate > 10 * light.base_learning_rate
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
        ({"mixup_alpha": -0.1}, "`mixup_alpha`.*Received: -0.1"),
        ({"base_learning_rate": 0}, "`base_learning_rate`.*Received: 0"),
        ({"base_learning_rate": float("nan")}, "`base_learning_rate`.*Received: nan"),
    ],
)
def test_impossible_values_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        HyperRule(**({"height": 32, "width": 32, "num_examples": 100} | arguments))
