"""How the labels of VTAB's tasks follow from what TFDS sets hold."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

# Distances of the nearest object where a class of clevr-distance begins, and its end.
CLEVR_DISTANCES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
# Metres to the nearest vehicle where a class of kitti-distance begins. The last one is
# for images without a vehicle, whose distance counts as 1000.
KITTI_DISTANCES = (-100.0, 8.0, 20.0, 999.0)
NO_VEHICLE = 1000.0
# Car, van and truck are the first three types of objects.
NUM_VEHICLE_TYPES = 3


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """How a label follows from an example of a TFDS set.

    Args:
        fields: What is read, as `tfds.decode.PartialDecoding` takes it.
        apply: Maps an example, a dict of tensors, to the label, an int64 scalar.
        class_names: The name of each class; `None` for those of the set's `feature`.
        feature: Name of the feature that is the label as it stands.
    """

    fields: dict
    apply: Callable
    class_names: tuple[str, ...] | None = None
    feature: str | None = None


def as_it_stands(feature="label"):
    """Returns the rule by which a feature of the set is the label."""
    return LabelRule({feature: True}, lambda example: example[feature], None, feature)


def in_classes(feature, num_values, num_classes=16):
    """Returns the rule that puts neighbouring values of a feature into one class.

    Args:
        feature: Name of the feature.
        num_values: Number of its values, 0 to `num_values` - 1.
        num_classes: Number of the classes of equal width, no more than the values.
    """

    def apply(example):
        # In whole numbers, which equals the published floor of a quotient.
        return example[feature] * num_classes // num_values

    names = tuple(map(str, range(num_classes)))
    return LabelRule({feature: True}, apply, names)


def count_objects(example):
    """Returns the class of a number of objects, 0 for three, of a CLEVR example."""
    number = tf.shape(example["objects"]["size"], tf.int64)[0]
    return number - 3


def nearest_object(example):
    """Returns the class of the distance of the nearest object of a CLEVR example."""
    distance = tf.reduce_min(example["objects"]["pixel_coords"][:, 2])
    return _last_below(CLEVR_DISTANCES, distance)


def nearest_vehicle(example):
    """Returns the class of the distance of the nearest vehicle of a KITTI example."""
    objects = example["objects"]
    is_vehicle = objects["type"] < NUM_VEHICLE_TYPES
    distances = tf.boolean_mask(objects["location"][:, 2], is_vehicle)
    distance = tf.reduce_min(tf.concat([distances, [NO_VEHICLE]], 0))
    return _last_below(KITTI_DISTANCES, distance)


def _last_below(thresholds, value):
    """Returns the index of the last of increasing thresholds below a value."""
    return tf.reduce_sum(tf.cast(tf.constant(thresholds) < value, tf.int64)) - 1


CLEVR_COUNT = LabelRule(
    {"objects": {"size": True}},
    count_objects,
    tuple(f"{number} objects" for number in range(3, 11)),
)
CLEVR_DISTANCE = LabelRule(
    {"objects": {"pixel_coords": True}},
    nearest_object,
    ("to 8", "8 to 8.5", "8.5 to 9", "9 to 9.5", "9.5 to 10", "from 10"),
)
KITTI_DISTANCE = LabelRule(
    {"objects": {"type": True, "location": True}},
    nearest_vehicle,
    ("to 8 m", "8 to 20 m", "from 20 m", "no vehicle"),
)
