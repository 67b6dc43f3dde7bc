import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import bit_keras
from bit_keras.errors import InputError

TINY = {"units": (1, 1, 1, 1), "width": 0.5}

# Depth, width, parameters without a head and with heads of 1000 and 21843 classes.
PUBLISHED = [
    (50, 1, 23_500_352, 25_549_352, 68_256_659),
    (50, 3, 211_174_080, 217_319_080, 345_399_315),
    (101, 1, 42_492_480, 44_541_480, 87_248_787),
    (101, 3, 381_789_888, 387_934_888, 516_015_123),
    (152, 2, 232_238_208, 236_335_208, 321_728_979),
    (152, 4, 928_340_224, 936_533_224, 1_107_299_923),
]


COUNT = """
import gc, json, resource, sys
import keras, numpy as np, bit_keras
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
for depth, width in json.loads(sys.argv[1]):
    model = bit_keras.BiTClassifier(bit_keras.BiTBackbone(depth, width), 0)
    counts = [model.count_params()]
    for num_classes in (1000, 21843):
        model.reset_head(num_classes)
        counts.append(sum(int(np.prod(weight.shape)) for weight in model.weights))
    print(json.dumps([counts, peak() - before]))
    del model
    gc.collect()
"""


def test_published_parameter_counts():
    """In a process of its own, the largest last, which tells the peak of its memory."""
    networks = sorted(PUBLISHED, key=lambda network: network[-1])
    sizes = json.dumps([network[:2] for network in networks])
    done = subprocess.run(
        [sys.executable, "-c", COUNT, sizes], capture_output=True, text=True, check=True
    )
    lines = map(json.loads, done.stdout.splitlines())
    for (*_, b, s, m), (counts, memory) in zip(networks, lines, strict=True):
        assert counts == [b, s, m]
        # The weights once, and the largest tensor while it is drawn.
        assert memory < 1.35 * 4 * m + 400e6


@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(32, 100),
    width=st.integers(32, 100),
    batch=st.integers(1, 2),
)
def test_any_size_of_image(height, width, batch):
    backbone = tiny_backbone()
    images = tf.random.stateless_normal((batch, height, width, 3), seed=(height, width))
    outputs = keras.Model(backbone.input, backbone.endpoints | backbone.pyramid)(images)

    def expected(stride, channels):
        return batch, -(-height // stride), -(-width // stride), channels

    strides = {"P2": 4, "P3": 8, "P4": 16, "P5": 32}
    for level, stride in strides.items():
        assert outputs[level].shape == expected(stride, 32 * stride)
    for block, level in enumerate(strides, start=1):
        np.testing.assert_array_equal(outputs[f"block{block}"], outputs[level])
    assert outputs["root_block"].shape == expected(4, 32)
    assert outputs["pre_logits_2d"].shape == expected(32, 1024)
    np.testing.assert_allclose(
        outputs["pre_logits_2d"], backbone(images), rtol=1e-4, atol=1e-5
    )


def tiny_backbone(**kwargs):
    keras.utils.set_random_seed(0)
    return bit_keras.BiTBackbone(**TINY | kwargs)


def test_a_static_shape_is_inferred_as_it_is_computed():
    backbone = tiny_backbone()
    shape = backbone.compute_output_shape((None, 97, 65, 3))
    assert shape == (None, 4, 3, 1024)
    assert backbone(np.zeros((1, 97, 65, 3))).shape[1:] == shape[1:]


def test_a_zero_wins_in_the_root_pooling_over_negative_neighbours():
    backbone = tiny_backbone()
    pooled = keras.Model(
        backbone.get_layer("root_block").input, backbone.endpoints["root_block"]
    )
    output = pooled(-np.ones((1, 4, 4, 32), np.float32))
    np.testing.assert_array_equal(output[0, :, :, 0], [[0, 0], [0, -1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `depth` or `units`. Received: depth=None, units=None"),
        ({"depth": 50, "units": (1, 1, 1, 1)}, "either `depth` or `units`"),
        ({"depth": 34}, r"\[26, 50, 101, 152\].*Received: 34"),
        ({"units": (1, 1, 1)}, r"four positive integers. Received: \(1, 1, 1\)"),
        ({"units": (1, 0, 1, 1)}, "four positive integers"),
        ({"units": 50}, "four positive integers. Received: 50"),
        ({"depth": 50, "width": 0.3}, "multiple of 0.5. Received: 0.3"),
        ({"depth": 50, "width": 0}, "multiple of 0.5"),
    ],
)
def test_impossible_networks_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        bit_keras.BiTBackbone(**arguments)


@pytest.mark.parametrize("units", [[2, 1, 1, 2], (1, 2, 1, 1)])
def test_any_units_are_named_layers_and_variables(units):
    backbone = bit_keras.BiTBackbone(units=units, width=0.5)
    assert list(backbone.named_variables()) == list(backbone.architecture.shapes())
    assert len(backbone.weights) == len(backbone.named_variables())


def test_every_variable_has_a_gradient():
    model = bit_keras.BiTClassifier(tiny_backbone(), 3)
    model.head.kernel.assign(np.random.default_rng(0).normal(size=(1024, 3)))
    with tf.GradientTape() as tape:
        logits = model(tf.random.stateless_normal((2, 64, 48, 3), seed=(1, 2)))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1], logits)
    gradients = tape.gradient(loss, [weight.value for weight in model.weights])
    for weight, gradient in zip(model.weights, gradients, strict=True):
        assert float(tf.norm(gradient)) > 0, weight.path


def test_xla_agrees_with_eager():
    backbone = tiny_backbone()
    images = tf.random.stateless_normal((2, 65, 48, 3), seed=(3, 4))
    compiled = tf.function(backbone, jit_compile=True)(images)
    difference = tf.norm(compiled - backbone(images)) / tf.norm(compiled)
    assert float(difference) < 1e-5
