import numpy as np
import pytest
import tensorflow as tf

from bit_keras.assets import doodles_folder
from bit_keras.workflows.predict import predict

FILES = sorted((doodles_folder() / "test" / "cup").iterdir())[:3]
OPTION = "disable_meta_optimizer"


def is_disabled():
    return tf.config.optimizer.get_experimental_options().get(OPTION, False)


class Recording:
    """Finds the darkest channel, and remembers how its graph was to be run."""

    num_classes, class_names, image_size = 3, None, 28

    def __init__(self):
        self.disabled = []

    def __call__(self, images):
        self.disabled.append(is_disabled())
        return -tf.reduce_sum(images, axis=(1, 2))


@pytest.fixture
def restored():
    before = is_disabled()
    yield
    tf.config.optimizer.set_experimental_options({OPTION: before})


@pytest.mark.parametrize("before", [False, True])
def test_graphs_are_optimized_where_that_pays(restored, before):
    tf.config.optimizer.set_experimental_options({OPTION: before})
    model = Recording()
    at_once = predict(model, FILES)
    assert model.disabled == [True]
    assert is_disabled() == before
    in_turns = predict(model, FILES, batch_size=2)
    assert model.disabled == [True, before, before]
    for one, other in zip(at_once, in_turns, strict=True):
        assert (one.path, one.labels) == (other.path, other.labels)
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-6)


def test_the_option_is_put_back_after_a_failure(restored):
    tf.config.optimizer.set_experimental_options({OPTION: False})

    def fail(images):
        raise ZeroDivisionError

    fail.num_classes, fail.class_names, fail.image_size = 3, None, 28
    with pytest.raises(ZeroDivisionError):
        predict(fail, FILES)
    assert not is_disabled()
