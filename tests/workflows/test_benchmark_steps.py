"""Steps do what they are said to do."""

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.workflows import benchmark_steps

WITHOUT_XLA = {"jit_compile": False}


def make_model():
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    return bit_keras.BiTClassifier(backbone, 7)


def test_inference_is_that_of_the_model():
    model = make_model()
    model.head.kernel.assign(np.random.default_rng(0).normal(0, 1, (1024, 7)))
    images = benchmark_steps._images(3, 32)
    expected = np.array(model(images))
    stored = np.array(model.backbone.get_layer("root_conv").kernel)
    run = benchmark_steps.inference_step(model, 32, WITHOUT_XLA)(3)
    np.testing.assert_allclose(run().numpy(), expected[0], rtol=1e-4, atol=1e-4)
    # Standardized beforehand and not in each step, which would take the mean away.
    kernel = np.array(model.backbone.get_layer("root_conv").kernel)
    centred = stored - stored.mean((0, 1, 2))
    np.testing.assert_allclose(kernel, centred / stored.std((0, 1, 2)), atol=1e-5)
    model.backbone.get_layer("root_conv").kernel.assign(kernel + 0.5)
    assert not np.allclose(run().numpy(), expected[0], rtol=1e-2)


def test_training_updates_the_weights_each_step():
    model = make_model()
    rule = bit_keras.HyperRule(32, 32, num_examples=1)
    eager = WITHOUT_XLA | {"run_eagerly": True}
    step_of = benchmark_steps.training_step(model, 32, rule.compile_args() | eager)
    run = step_of(4)
    # A head of zeros finds all of 7 classes equally likely.
    assert run().numpy() == pytest.approx(np.log(7), rel=1e-5)
    run()
    assert int(model.optimizer.iterations.numpy()) == 2
    # The rate of the first step is 0.
    assert np.abs(model.head.kernel).max() > 0
    step_of(2)()
    assert int(model.optimizer.iterations.numpy()) == 3


def test_training_is_traced_once(monkeypatch):
    traced = []
    one_part = bit_keras.BiTClassifier._one_part

    def counted(self, *batch):
        traced.append(batch[0].shape[0])
        return one_part(self, *batch)

    monkeypatch.setattr(bit_keras.BiTClassifier, "_one_part", counted)
    arguments = bit_keras.HyperRule(32, 32, num_examples=1).compile_args()
    step_of = benchmark_steps.training_step(make_model(), 32, arguments | WITHOUT_XLA)
    for batch_size in (4, 2):
        run = step_of(batch_size)
        run()
        run()
    assert traced == [4, 2]


def test_images_are_as_the_network_takes_them():
    images = benchmark_steps._images(2, 48).numpy()
    assert images.shape == (2, 48, 48, 3)
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1


def test_input_is_that_of_training():
    step_of = benchmark_steps.input_step(bit_keras.open_source("doodles"), 32)
    run = step_of(6)
    first, second = run().numpy(), run().numpy()
    assert first.shape == second.shape == (6, 20)
    np.testing.assert_allclose(first.sum(1), 1)
    assert (first != second).any()
