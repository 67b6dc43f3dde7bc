"""What all kinds of recipes have in common."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.recipes.distillation import Distillation
from bit_keras.recipes.hyperrule import HyperRule
from bit_keras.recipes.upstream import Upstream

RECIPES = {
    "small": HyperRule(32, 32, 1000),
    "medium": HyperRule(200, 200, 50_000, variant="paper", eval_resize=438),
    "S": Upstream("S", 1_281_167),
    "bit_i21k": Upstream("bit_i21k", 14_197_122),
    "pet_fast": Distillation("pet_fast", 3312),
}
KINDS = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
any_recipe = st.sampled_from(list(RECIPES.values()))


@settings(max_examples=200, deadline=None)
@given(any_recipe, st.integers(1, 5000), st.integers(1, 5000))
def test_scaling_is_in_proportion(recipe, batch_size, steps):
    scaled = recipe.scaled(batch_size=batch_size, steps=steps)
    assert scaled.base_learning_rate / batch_size == pytest.approx(
        recipe.base_learning_rate / recipe.batch_size
    )
    assert scaled.steps == steps
    exact = np.array(recipe.decay_steps) * steps / recipe.steps
    assert np.abs(np.array(scaled.decay_steps) - exact).max(initial=0) <= 0.5
    warmup_steps = recipe.warmup_steps * steps / recipe.steps
    assert abs(scaled.warmup_steps - warmup_steps) <= 0.5 or steps == 1
    sizes = ("resize", "crop", "eval_resize")
    for name in sizes:
        assert getattr(scaled, name) == getattr(recipe, name)
    # Nothing of the kind's own.
    same = ("base_learning_rate", "batch_size", "steps", "warmup_steps", "decay_steps")
    reset = {name: getattr(recipe, name) for name in same}
    assert dataclasses.replace(scaled, **reset) == recipe


@KINDS
def test_scaled_by_nothing_is_the_same(recipe):
    assert recipe.scaled() == recipe


@settings(max_examples=100, deadline=None)
@given(any_recipe, st.integers(1, 1000), st.floats(0.5, 1000))
def test_epochs_are_kept_or_asked_for(recipe, batch_size, epochs):
    kept = recipe.scaled(batch_size=batch_size, same_epochs=True)
    one_step = batch_size / recipe.num_examples
    assert abs(kept.epochs - recipe.epochs) <= max(one_step / 2, one_step * 1e-9)
    asked = recipe.scaled(batch_size=batch_size, epochs=epochs)
    wanted = epochs * recipe.num_examples / batch_size
    assert asked.steps == max(1, round(wanted))


def test_by_default_each_recipe_is_scaled_as_it_was_published():
    # README of big_transfer, with --batch 128: the steps stay.
    advised = HyperRule(32, 32, 50_000).scaled(batch_size=128)
    assert (advised.base_learning_rate, advised.steps) == (0.00075, 10_000)
    # The notebook: four times the steps too.
    notebook = HyperRule(32, 32, 1000).scaled(batch_size=128, same_epochs=True)
    assert (notebook.steps, notebook.warmup_steps) == (2000, 400)
    assert notebook.decay_steps == (800, 1200, 1600)
    upstream = RECIPES["S"].scaled(batch_size=256)
    assert (upstream.steps, upstream.warmup_steps) == (28_151 * 16, 80_000)
    assert RECIPES["S"].scaled(batch_size=256, same_epochs=False).steps == 28_151


@settings(max_examples=100, deadline=None)
@given(any_recipe, st.integers(1, 1000))
def test_a_smaller_crop_keeps_the_part_of_the_image(recipe, crop):
    scaled = recipe.scaled(crop=crop)
    assert scaled.crop == crop
    assert abs(scaled.resize - recipe.resize * crop / recipe.crop) <= 0.5
    if recipe.eval_resize:
        exact = recipe.eval_resize * crop / recipe.crop
        assert abs(scaled.eval_resize - exact) <= 0.5
    assert recipe.scaled(crop=crop, resize=1000).resize == 1000


@KINDS
def test_a_warm_up_that_is_given_is_taken(recipe):
    scaled = recipe.scaled(steps=100, warmup_steps=7)
    assert (scaled.steps, scaled.warmup_steps) == (100, 7)


@KINDS
@pytest.mark.parametrize("name", ["batch_size", "steps", "resize", "crop", "epochs"])
def test_scaling_to_nothing_is_refused(recipe, name):
    with pytest.raises(InputError, match=f"`{name}`.*Received: 0"):
        recipe.scaled(**{name: 0})


@KINDS
def test_two_lengths_at_once_are_refused(recipe):
    with pytest.raises(InputError, match="Received: steps=5, epochs=2, same"):
        recipe.scaled(steps=5, epochs=2)
    with pytest.raises(InputError, match="steps=5, epochs=None, same_epochs=True"):
        recipe.scaled(steps=5, same_epochs=True)


@settings(max_examples=100, deadline=None)
@given(any_recipe, st.integers(1, 5000))
def test_epochs_of_fit_make_up_exactly_all_steps(recipe, steps):
    arguments = recipe.scaled(steps=steps).fit_args()
    assert arguments["epochs"] * arguments["steps_per_epoch"] == steps
    assert 1 <= arguments["epochs"] <= 10


@KINDS
def test_a_report_gives_the_recipe_back(recipe):
    saved = json.loads(json.dumps(recipe.to_dict()))
    assert type(recipe)(**saved) == recipe


@KINDS
def test_the_optimizer_of_compile_args_has_the_recipes_rate(recipe):
    optimizer = recipe.compile_args()["optimizer"]
    for step in (0, recipe.warmup_steps // 2, recipe.warmup_steps, recipe.steps - 1):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == float(recipe.learning_rate(step))
    assert float(recipe.learning_rate(0)) == 0
    top = float(recipe.learning_rate(recipe.warmup_steps))
    assert top == pytest.approx(recipe.base_learning_rate)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.get_config() == optimizer.get_config()
