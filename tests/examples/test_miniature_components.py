"""The variants are what they are called, and the program fills its table."""

import dataclasses
import json

import components
import keras
import numpy as np
import pytest
import tensorflow as tf
import variants
from small_runs import Uncompiled, all_weights, make_recipe, make_source, relative_l2

import bit_keras
from bit_keras.checkpoints.names import (
    FINAL_NORM,
    ROOT_KERNEL,
    Architecture,
    unit_prefix,
)
from bit_keras.recipes.recipe import Recipe
from bit_keras.training.fit import compile_for, train
from bit_keras.training.resume import Checkpoints, Progress

UNITS = (1, 1, 1, 1)
SMALL = Architecture(UNITS, width=0.5)


@pytest.fixture
def without_xla(monkeypatch):
    compile_args = Recipe.compile_args
    monkeypatch.setattr(
        Recipe, "compile_args", lambda self: compile_args(self) | {"jit_compile": False}
    )


def make_backbone(variant, units=UNITS, dtype="float64"):
    """Returns a small network whose every weight matters."""
    keras.utils.set_random_seed(0)
    backbone = variants.ComponentBackbone(variant, units, width=0.5, dtype=dtype)
    random = np.random.default_rng(1)
    for variable in backbone.variables:
        if variable.name != "kernel":
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return backbone


def make_model(variant, dtype="float32"):
    return bit_keras.BiTClassifier(make_backbone(variant, dtype=dtype), num_classes=3)


def make_images(count=4, pixels=48):
    random = np.random.default_rng(2)
    return random.uniform(-1, 1, (count, pixels, pixels, 3))


def moving_averages(model):
    return [v for v in model.non_trainable_variables if v.name.startswith("moving_")]


class Plain:
    """The network by plain TensorFlow operations, from the same weights."""

    def __init__(self, backbone, training):
        self.weights = backbone.named_variables()
        self.units = backbone.units
        self.norm, _, self.standardized = backbone.variant.partition("+")
        self.training = training
        gammas = {id(v): name for name, v in self.weights.items() if "gamma" in name}
        self.moving = {
            gammas[id(layer.gamma)]: (layer.moving_mean, layer.moving_variance)
            for layer in backbone._flatten_layers()
            if hasattr(layer, "moving_mean")
        }

    def convolve(self, x, name, strides=1):
        kernel = tf.convert_to_tensor(self.weights[name])
        if self.standardized:
            mean, variance = tf.nn.moments(kernel, [0, 1, 2])
            kernel = (kernel - mean) / tf.sqrt(variance + 1e-10)
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, strides, "VALID")

    def normalize(self, x, name):
        gamma, beta = (self.weights[f"{name}/{part}"] for part in ("gamma", "beta"))
        if self.norm == "GN":
            groups = tf.reshape(x, (*x.shape[:3], 32, -1))
            mean, variance = tf.nn.moments(groups, [1, 2, 4], keepdims=True)
            x = tf.reshape((groups - mean) / tf.sqrt(variance + 1e-5), x.shape)
        elif self.training:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            x = (x - mean) / tf.sqrt(variance + 1e-5)
        else:
            mean, variance = self.moving[f"{name}/gamma"]
            x = (x - mean) / tf.sqrt(variance + 1e-5)
        return tf.nn.relu(x * gamma + beta)

    def residual_unit(self, x, prefix, strides):
        def kernel(part):
            return f"{prefix}/{part}/standardized_conv2d/kernel"

        y = self.normalize(x, f"{prefix}/a/group_norm")
        if kernel("a/proj") in self.weights:
            x = self.convolve(y, kernel("a/proj"), strides)
        y = self.convolve(y, kernel("a"))
        y = self.normalize(y, f"{prefix}/b/group_norm")
        y = self.convolve(y, kernel("b"), strides)
        y = self.normalize(y, f"{prefix}/c/group_norm")
        return x + self.convolve(y, kernel("c"))

    def __call__(self, images):
        x = self.convolve(tf.constant(images), ROOT_KERNEL, strides=2)
        # With zeros, which the pooling's own padding would not compare with.
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        for block, count in enumerate(self.units, start=1):
            for unit in range(1, count + 1):
                strides = 2 if unit == 1 and block > 1 else 1
                x = self.residual_unit(x, unit_prefix(block, unit), strides)
        return self.normalize(x, FINAL_NORM)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("variant", variants.VARIANTS)
def test_variants_compute_what_plain_tensorflow_does(variant, training):
    backbone = make_backbone(variant, units=(2, 1, 1, 1))
    images = make_images()
    expected = Plain(backbone, training)(images)
    assert np.std(expected) > 0.1
    actual = backbone(images, training=training)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_group_norm_with_standardized_kernels_is_bit(dtype):
    backbone = make_backbone("GN+WS", dtype=dtype)
    bit = bit_keras.BiTBackbone(units=UNITS, width=0.5, dtype=dtype)
    bit.set_weights(backbone.get_weights())
    images = make_images().astype("float32")
    expected = np.float32(bit(images))
    assert relative_l2(np.float32(backbone(images)), expected) <= 1e-6


def test_variants_begin_with_the_same_kernels():
    def kernels(variant):
        keras.utils.set_random_seed(3)
        backbone = variants.ComponentBackbone(variant, UNITS, width=0.5)
        return [conv.kernel.numpy() for conv in backbone.convolutions()]

    expected = kernels("GN+WS")
    for variant in variants.VARIANTS:
        for kernel, other in zip(kernels(variant), expected, strict=True):
            np.testing.assert_array_equal(kernel, other)


@pytest.mark.parametrize("variant", variants.VARIANTS)
def test_variants_are_saved_and_loaded(tmp_path, variant):
    model = make_model(variant)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = make_images().astype("float32")
    np.testing.assert_array_equal(loaded.features(images), model.features(images))


def test_a_step_of_training_moves_the_averages_by_a_tenth():
    """In the compiled step of mixed precision, by which the program trains."""
    model = make_model("BN", dtype="mixed_bfloat16")
    recipe = make_recipe(mixup_alpha=0.0)
    compile_for(model, recipe)
    root = keras.Model(
        model.backbone.input, model.backbone.get_layer("root_block").output
    )
    images = make_images(count=8, pixels=32).astype("float32")
    x = np.float32(root(images))
    norm = model.backbone.get_layer("block1_unit01").norm_a
    before = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    statistics = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    model.train_on_batch(images, np.eye(3, dtype="float32")[np.arange(8) % 3])
    after = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    for old, new, statistic in zip(before, after, statistics, strict=True):
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * statistic, rtol=1e-2)


def test_checkpoints_hold_the_averages(tmp_path):
    model, other = make_model("BN"), make_model("BN")
    source = make_source()
    recipe = make_recipe(Uncompiled, steps=2, warmup_steps=1, decay_steps=())
    initial = [v.numpy() for v in moving_averages(model)]
    train(model, source, recipe, progress=False)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, Progress(step=2), with_metrics=False)
    compile_for(other, recipe)
    checkpoints.restore(other)
    # A unit and its projection have three normalizations each, and one comes last.
    assert len(initial) == 2 * (4 * 3 + 1)
    pairs = zip(moving_averages(model), moving_averages(other), strict=True)
    for (trained, restored), start in zip(pairs, initial, strict=True):
        np.testing.assert_array_equal(restored, trained)
        assert not np.array_equal(trained, start)


def test_recipes_keep_the_epochs_and_the_rate_for_an_example():
    small, large = (
        components.upstream_recipe(50_000, size, epochs=30, pixels=64)
        for size in (128, 4096)
    )
    assert (small.steps, large.steps) == (11_719, 366)
    assert (small.base_learning_rate, large.base_learning_rate) == (0.05, 1.6)
    assert (small.warmup_steps, large.warmup_steps) == (586, 73)
    assert components.upstream_recipe(50_000, 4096, 60, 64).warmup_steps == 100
    assert large.decay_steps == (122, 244, 325)
    assert (large.resize, large.crop, large.l2) == (72, 64, 1e-4)
    assert components.upstream_recipe(50_000, 128, 30, 64, steps=7).steps == 7
    changes = {"warmup_steps": 0, "l2": 1e-3, "clip_norm": 1.0}
    changed = components.upstream_recipe(50_000, 4096, 30, 64, **changes)
    assert changed == dataclasses.replace(large, **changes)


def test_options_change_the_recipe():
    words = "--out_dir X --batch_sizes 128,4096 --rate 0.0125 --l2 0.001 --epochs 2"
    small, large = components.recipes_for(components.parse(words.split()), 50_000)
    for recipe, size, rate in ((small, 128, 0.00625), (large, 4096, 0.2)):
        assert (recipe.batch_size, recipe.base_learning_rate) == (size, rate)
        assert (recipe.steps, recipe.l2) == (round(100_000 / size), 1e-3)
    words = "--out_dir X --warmup_steps 9 --clip_norm 2 --mixup_alpha 0.1 --steps 99"
    [recipe] = components.recipes_for(components.parse(words.split()), 50_000)
    assert (recipe.warmup_steps, recipe.clip_norm, recipe.steps) == (9, 2.0, 99)
    assert recipe.mixup_alpha == 0.1


@pytest.mark.parametrize(
    "words", ["--variants XX", "--variants=", "--model R27x1", "--policy int3"]
)
def test_wrong_options_are_refused_before_anything_is_read(
    tmp_path, monkeypatch, words
):
    monkeypatch.setattr(bit_keras, "open_source", None)
    out_dir = tmp_path / "out"
    with pytest.raises((bit_keras.InputError, ValueError, SystemExit)):
        components.main([*words.split(), "--out_dir", str(out_dir)])
    assert not out_dir.exists()


def test_no_steps_are_refused():
    with pytest.raises(bit_keras.InputError, match="steps"):
        components.upstream_recipe(50_000, 128, 30, 64, steps=0)


def test_transfer_recipe_is_the_rule_in_smaller_batches():
    recipe = components.transfer_recipe(100, pixels=64, steps=500)
    assert (recipe.batch_size, recipe.base_learning_rate) == (128, 0.003)
    assert (recipe.steps, recipe.warmup_steps) == (500, 100)
    assert (recipe.decay_steps, recipe.crop) == ((200, 300, 400), 64)


def run_program(out_dir, variants, batch_sizes=(4,), transfers=True, **changes):
    source = make_source(30)
    recipes = [
        dataclasses.replace(
            components.upstream_recipe(30, size, 0, pixels=32, steps=3), **changes
        )
        for size in batch_sizes
    ]
    targets = {"patterns": source} if transfers else {}
    transfer = components.Transfer(targets, 3, 32, (0, 1), 2)
    return components.run_all(
        variants, recipes, SMALL, source, transfer, out_dir, policy="float32"
    )


def test_program_adds_the_rows_that_are_missing(tmp_path, without_xla, capsys):
    [first] = run_program(tmp_path, ["BN"])
    rows = run_program(tmp_path, ["BN"], batch_sizes=(4, 8))
    assert json.loads((tmp_path / "components.json").read_text()) == rows
    assert rows[0] == first
    assert [(row["variant"], row["batch_size"]) for row in rows] == [
        ("BN", 4),
        ("BN", 8),
    ]
    for row in rows:
        [accuracies] = row["transfer"].values()
        assert len(accuracies) == 2
        assert row["transfer_mean"] == pytest.approx(np.mean(accuracies))
        # Seven images are tested on.
        for accuracy in [*accuracies, row["upstream_top1"]]:
            assert 7 * accuracy == pytest.approx(round(7 * accuracy))
    assert capsys.readouterr().out.count(" % upstream") == 2


def test_without_targets_there_is_no_transfer(tmp_path, without_xla, capsys):
    [row] = run_program(tmp_path, ["GN"], transfers=False)
    assert (row["transfer"], row["transfer_mean"]) == ({}, None)
    assert 0 <= row["upstream_top1"] <= 1
    # Of three steps of four images.
    assert 12 * row["training_accuracy"] == pytest.approx(
        round(12 * row["training_accuracy"])
    )
    assert "transfer" not in capsys.readouterr().out


def test_a_network_that_diverges_is_a_row_too(tmp_path, without_xla, capsys):
    rate = {"base_learning_rate": 1e30}
    [row] = run_program(tmp_path, ["GN"], **rate)
    assert "The loss became" in row["failed"]
    assert "upstream_top1" not in row
    assert run_program(tmp_path, ["GN"], **rate) == [row]
    assert capsys.readouterr().out == f"GN, batch 4: {row['failed']}\n"


def test_a_trial_is_the_same_after_another_one(without_xla):
    """Weights, averages and optimizers of the run before are gone."""
    source = make_source(30)
    transfer = components.Transfer({"patterns": source}, 2, 32, (0,), 2)
    recipe = components.upstream_recipe(30, 4, 0, pixels=32, steps=3)
    trial = components.Trial("BN", SMALL, source, policy="float32")
    weights = []
    for _ in range(2):
        trial.run(recipe, transfer)
        weights.append(all_weights(trial.model))
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("name", ["R26", "R50x", "R27x1", "R50x0.3", "R[1,2]x1"])
def test_unknown_networks_are_refused(name):
    with pytest.raises(bit_keras.InputError, match="Received"):
        components.parse_architecture(name)


def test_names_of_networks_are_read():
    for name in ("R26x1", "R50x0.5", "R[1,2,1,1]x1"):
        assert components.parse_architecture(name).name == name


def test_unknown_variants_are_refused():
    with pytest.raises(bit_keras.InputError, match="Received: 'LN'"):
        variants.ComponentBackbone("LN", UNITS)
