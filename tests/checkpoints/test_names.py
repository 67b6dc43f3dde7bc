"""The published names, shapes and counts of a network's tensors."""

import hypothesis
import hypothesis.strategies as st
import pytest
from parity.make_checkpoint import make_checkpoint

from bit_keras.checkpoints.names import HEAD_BIAS, ROOT_KERNEL, Architecture, split_unit
from bit_keras.errors import InputError


@pytest.mark.parametrize(
    ("name", "depth", "width", "backbone", "with_1000", "with_21843", "tensors"),
    [
        ("R50x1", 50, 1, 23_500_352, 25_549_352, 68_256_659, 151),
        ("R50x3", 50, 3, 211_174_080, 217_319_080, 345_399_315, 151),
        ("R101x1", 101, 1, 42_492_480, 44_541_480, 87_248_787, 304),
        ("R101x3", 101, 3, 381_789_888, 387_934_888, 516_015_123, 304),
        ("R152x2", 152, 2, 232_238_208, 236_335_208, 321_728_979, 457),
        ("R152x4", 152, 4, 928_340_224, 936_533_224, 1_107_299_923, 457),
    ],
)
def test_published_counts(name, depth, width, backbone, with_1000, with_21843, tensors):
    def make(classes):
        return Architecture.from_depth(depth, width, classes)

    assert make(0).name == name
    assert make(0).num_parameters == backbone
    assert make(1000).num_parameters == with_1000
    assert make(21843).num_parameters == with_21843
    assert len(make(0).shapes()) == tensors
    assert len(make(1000).shapes()) == tensors + 2


@pytest.mark.parametrize(("depth", "gmacs"), [(50, 4.089), (101, 7.801), (152, 11.514)])
def test_multiply_adds_are_those_of_torchvision(depth, gmacs):
    """Its ResNets have kernels of the same shapes at the same strides."""
    architecture = Architecture.from_depth(depth, width=1, num_classes=1000)
    assert architecture.multiply_adds(224, 224) / 1e9 == pytest.approx(gmacs, abs=6e-4)


def test_multiply_adds_round_odd_sizes_up():
    architecture = Architecture.from_depth(50, width=1, num_classes=1000)
    assert architecture.multiply_adds(223, 223) == architecture.multiply_adds(224, 224)


def test_names_shapes_and_order_are_the_reference_ones():
    reference = make_checkpoint((2, 1, 3, 1), width=1, num_classes=5, seed=0)
    shapes = Architecture((2, 1, 3, 1), 1, 5).shapes()
    assert list(shapes.items()) == [(n, t.shape) for n, t in reference.items()]


def test_text_for_people():
    assert str(Architecture.from_depth(26, 0.5, 20)) == "R26x0.5 with 20 classes"
    assert str(Architecture((1, 2, 1, 1), 2)) == "R[1,2,1,1]x2 with no head"


@hypothesis.given(
    st.tuples(*[st.integers(1, 12)] * 4),
    st.sampled_from([0.5, 1, 1.5, 2, 3, 4]),
    st.integers(0, 30_000),
)
@hypothesis.settings(max_examples=50, deadline=None)
def test_from_shapes_is_the_inverse_of_shapes(units, width, num_classes):
    architecture = Architecture(units, width, num_classes)
    assert Architecture.from_shapes(architecture.shapes()) == architecture


def test_from_shapes_follows_most_tensors():
    shapes = Architecture((1, 1, 2, 1), 1, 7).shapes()
    shapes[ROOT_KERNEL] = (7, 7, 3, 192)
    shapes["resnet/block3/unit02/b/group_norm/gamma"] = ()
    del shapes[HEAD_BIAS]
    assert Architecture.from_shapes(shapes) == Architecture((1, 1, 2, 1), 1, 7)


def test_from_shapes_keeps_a_whole_width_an_int():
    width = Architecture.from_shapes(Architecture((1, 1, 1, 1), 2.0).shapes()).width
    assert isinstance(width, int)


@pytest.mark.parametrize("shapes", [{}, {ROOT_KERNEL: (7, 7, 3, 40)}])
def test_from_shapes_refuses_other_widths(shapes):
    with pytest.raises(InputError, match="multiples of 0.5"):
        Architecture.from_shapes(shapes)


def test_split_unit():
    assert split_unit("resnet/block2/unit12/a/proj/x") == (2, 12, "a/proj/x")
    assert split_unit("resnet/block5/unit01/a/x") is None
    assert split_unit(ROOT_KERNEL) is None
