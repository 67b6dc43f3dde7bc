import keras
import pytest

from bit_keras.errors import InputError
from bit_keras.recipes.distillation import Distillation
from bit_keras.recipes.losses import DistillationLoss

# By hand from big_vision's configurations: examples, epochs, temperature, rate, and its
# `wd`, which is what a step at the full rate takes of a kernel.
SMALL = {
    "flowers_fast": (1020, 10_000, 10, 0.003, 3e-4),
    "flowers_medium": (1020, 100_000, 1, 0.001, 1e-4),
    "flowers_long": (1020, 1_000_000, 1, 0.0003, 1e-5),
    "pet_fast": (3312, 1000, 5, 0.01, 1e-3),
    "pet_medium": (3312, 3000, 10, 0.003, 3e-4),
    "pet_long": (3312, 30_000, 2, 0.003, 1e-5),
    "food_fast": (68_175, 100, 10, 0.01, 1e-3),
    "food_medium": (68_175, 1000, 10, 0.001, 3e-4),
    "food_long": (68_175, 3000, 5, 0.01, 1e-4),
    "sun_fast": (76_128, 100, 10, 0.01, 1e-3),
    "sun_medium": (76_128, 1000, 10, 0.001, 1e-4),
    "sun_long": (76_128, 3000, 10, 0.01, 3e-5),
}


def check(recipe, epochs, temperature, rate, decay):
    assert recipe.epochs == pytest.approx(epochs, rel=1e-4)
    assert recipe.base_learning_rate == rate
    assert rate * recipe.weight_decay == pytest.approx(decay)
    assert (recipe.cropping, recipe.flip) == ("inception", "random")
    assert (recipe.mixup_alpha, recipe.mixup_partner) == (1, "roll")
    arguments = recipe.compile_args()
    assert isinstance(arguments["loss"], DistillationLoss)
    assert arguments["loss"].temperature == temperature
    assert arguments["clip_norm"] == 1
    optimizer = arguments["optimizer"]
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert (optimizer.beta_1, optimizer.beta_2) == (0.9, 0.999)
    assert optimizer.epsilon == 1e-8


@pytest.mark.parametrize("variant", SMALL)
def test_the_settings_for_small_sets(variant):
    num_examples, *values = SMALL[variant]
    recipe = Distillation(variant, num_examples)
    check(recipe, *values)
    assert (recipe.batch_size, recipe.warmup_steps) == (512, 1500)
    assert (recipe.crop, recipe.eval_resize) == (128, 160)


def test_the_setting_for_ilsvrc():
    recipe = Distillation("i1k", 1_255_544)
    check(recipe, 1200, 1, 0.03, 3e-4)
    assert (recipe.batch_size, recipe.warmup_steps) == (4096, 5000)
    assert (recipe.crop, recipe.eval_resize) == (224, 256)
    assert set(Distillation.SETTINGS) == {"i1k", *SMALL}


def test_the_rate_follows_a_cosine():
    rate = Distillation("pet_fast", 3312).learning_rate
    middle = (1500 + 6469) // 2
    rates = [float(rate(step)) for step in (0, 750, 1500, middle, 6469)]
    assert rates == pytest.approx([0, 0.005, 0.01, 0.005, 0], abs=2e-6)


def test_description():
    recipe = Distillation("pet_long", 3312)
    assert recipe.describe() == (
        "distillation recipe pet_long: 194,062 steps of 512 images at 128 px "
        "(30,000 epochs), learning rate 0.003, MixUp 1"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "cars"}, "`variant` must be one of i1k, .*Received: 'cars'"),
        ({"temperature": 0}, "`temperature`.*Received: 0"),
        ({"temperature": float("nan")}, "`temperature`.*Received: nan"),
    ],
)
def test_impossible_values_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Distillation(**({"variant": "pet_fast", "num_examples": 3312} | arguments))
