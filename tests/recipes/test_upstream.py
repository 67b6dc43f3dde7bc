import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.recipes.losses import SigmoidCrossentropy
from bit_keras.recipes.upstream import Upstream

# By hand from the paper and from big_vision's configurations: examples, epochs, rate of
# 4096 examples, warm-up, loss, bias of the head.
PUBLISHED = {
    "S": (1_281_167, 90, 0.48, 5000, "softmax", 0),
    "M": (14_197_122, 90, 0.48, 5000, "sigmoid", -10),
    "L": (300_000_000, 40, 0.48, 5000, "sigmoid", -10),
    "bit_i1k": (1_281_167, 90, 1.6, 1000, "softmax", 0),
    "bit_i21k": (14_197_122, 90, 0.48, 5000, "sigmoid", -10),
}
DECAY_EPOCHS = {"S": (30, 60, 80), "M": (30, 60, 80), "L": (10, 23, 30, 37)}


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_published_settings(variant):
    num_examples, epochs, rate, warmup_steps, loss, bias = PUBLISHED[variant]
    recipe = Upstream(variant, num_examples)
    assert recipe.batch_size == 4096
    assert recipe.steps == round(epochs * num_examples / 4096)
    assert recipe.base_learning_rate == pytest.approx(rate)
    assert recipe.warmup_steps == warmup_steps
    assert (recipe.loss, recipe.head_bias) == (loss, bias)
    assert (recipe.cropping, recipe.flip, recipe.mixup_alpha) == (
        "inception",
        "random",
        0,
    )
    assert (recipe.crop, recipe.eval_resize) == (224, 256)
    expected = SigmoidCrossentropy
    if loss == "softmax":
        expected = keras.losses.CategoricalCrossentropy
    arguments = recipe.compile_args()
    assert isinstance(arguments["loss"], expected)
    optimizer = arguments["optimizer"]
    assert (optimizer.momentum, optimizer.form) == (0.9, "outside")
    if variant in DECAY_EPOCHS:
        assert (optimizer.l2, optimizer.weight_decay) == (1e-4, None)
        assert "clip_norm" not in arguments
    else:
        assert (optimizer.l2, optimizer.weight_decay) == (0, pytest.approx(1e-3))
        assert arguments["clip_norm"] == 1


@pytest.mark.parametrize("variant", DECAY_EPOCHS)
def test_the_paper_has_a_tenth_of_the_rate_after_each_boundary(variant):
    recipe = Upstream(variant, PUBLISHED[variant][0])
    rate = recipe.learning_rate
    boundaries = [epoch * recipe.num_examples / 4096 for epoch in DECAY_EPOCHS[variant]]
    np.testing.assert_array_equal(recipe.decay_steps, np.round(boundaries))
    for number, boundary in enumerate(recipe.decay_steps):
        assert float(rate(boundary)) == pytest.approx(0.48 / 10**number)
        assert float(rate(boundary + 1)) == pytest.approx(0.48 / 10 ** (number + 1))
    assert float(rate(2500)) == pytest.approx(0.24)


@pytest.mark.parametrize("variant", ["bit_i1k", "bit_i21k"])
def test_big_vision_has_a_cosine(variant):
    recipe = Upstream(variant, PUBLISHED[variant][0])
    top, warmup, total = recipe.base_learning_rate, recipe.warmup_steps, recipe.steps
    steps = np.array([0, 1, warmup // 2, warmup, total // 2, total - 1])
    progress = np.clip((steps - warmup) / (total - warmup), 0, 1)
    expected = (
        top * 0.5 * (1 + np.cos(np.pi * progress)) * np.minimum(1, steps / warmup)
    )
    actual = [float(recipe.learning_rate(step)) for step in steps]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-8 * top)


@pytest.mark.parametrize("variant", PUBLISHED)
@settings(max_examples=100, deadline=None)
@given(share=st.floats(1e-5, 2))
def test_the_warm_up_is_over_before_the_rate_falls(variant, share):
    published, epochs, _, warmup_steps, *_ = PUBLISHED[variant]
    recipe = Upstream(variant, max(1, round(published * share)))
    first_decay = min([*recipe.decay_steps, recipe.steps // 2])
    assert recipe.warmup_steps <= max(first_decay, 1)
    if share > 0.55:  # As published, though a part is held out.
        assert recipe.warmup_steps == warmup_steps
    elif recipe.warmup_steps != warmup_steps:
        part = warmup_steps / (epochs * published / 4096)
        assert abs(recipe.warmup_steps - part * recipe.steps) <= 1


def test_the_batch_decides_rate_and_steps():
    recipe = Upstream("S", 1_281_167, batch_size=256)
    assert recipe.base_learning_rate == pytest.approx(0.03)
    assert recipe.steps == round(90 * 1_281_167 / 256)
    assert recipe.warmup_steps == 5000
    shorter = Upstream("S", 1_281_167, steps=2815)
    assert (shorter.warmup_steps, shorter.decay_steps) == (500, (938, 1877, 2502))


def test_a_cosine_for_the_papers_recipe():
    recipe = Upstream("M", 14_197_122, decay_steps=())
    half = (recipe.warmup_steps + recipe.steps) // 2
    assert float(recipe.learning_rate(half)) == pytest.approx(0.24, rel=1e-4)


def test_description():
    recipe = Upstream("S", 1_281_167)
    assert recipe.describe() == (
        "BiT upstream recipe S: 28,151 steps of 4096 images at 224 px (90 epochs), "
        "learning rate 0.48"
    )
    light = recipe.scaled(batch_size=256, epochs=1.5, crop=64)
    assert light.describe() == (
        "light setting of the BiT upstream recipe S: 7,507 steps of 256 images at 64 "
        "px (1.50 epochs), learning rate 0.03"
    )
    without = dataclasses.replace(recipe, l2=0)
    assert without.describe().startswith("changed setting of the BiT upstream recipe S")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "XL"}, "`variant` must be one of S, M, L, .*Received: 'XL'"),
        ({"num_examples": 0}, "`num_examples`.*Received: 0"),
        ({"l2": -1e-4}, "`l2`.*Received: -0.0001"),
        ({"weight_decay": float("inf")}, "`weight_decay`.*Received: inf"),
        ({"clip_norm": "1"}, "`clip_norm`.*Received: '1'"),
        ({"loss": "hinge"}, "`loss` must be one of softmax, sigmoid. Rec.*'hinge'"),
        ({"head_bias": float("nan")}, "`head_bias` must be a number.*nan"),
        ({"crop": 300}, "crop=300, resize=256"),
        ({"warmup_steps": 30_000}, "warmup_steps=30000, steps=28151"),
    ],
)
def test_impossible_values_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Upstream(**({"variant": "S", "num_examples": 1_281_167} | arguments))
