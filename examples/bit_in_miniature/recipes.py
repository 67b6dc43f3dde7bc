"""What is decided for Big Transfer in miniature, upstream and downstream."""

import dataclasses

import bit_keras

# Pixels of images before the crop, and of the crop, everywhere.
RESIZE, CROP = 72, 64
MODELS = {
    "R26x0.5": (26, 0.5),
    "R26x1": (26, 1),
    "R50x1": (50, 1),
    "R101x1": (101, 1),
    "R152x2": (152, 2),
}


@dataclasses.dataclass(frozen=True)
class UpstreamRow:
    """How a network is trained on an upstream set.

    Args:
        epochs: How often training sees each image.
        batch_size: Images in a step.
        rate: Learning rate for 256 images; in proportion for others.
        warmup: Share of the steps that the warm-up takes.
        l2: Coupled weight decay of kernels.
        mixup_alpha: Parameter of MixUp's Beta distribution, 0 for none.
    """

    epochs: int
    batch_size: int = 512
    rate: float = 0.1
    warmup: float = 0.05
    l2: float = 1e-4
    mixup_alpha: float = 0.1

    def recipe(self, num_examples):
        """Returns the `Upstream` recipe: the paper's staircase, so much shorter.

        Steps are a multiple of ten, so that a run has ten evaluations.
        """
        tens = max(1, round(self.epochs * num_examples / self.batch_size / 10))
        return bit_keras.Upstream(
            "S",
            num_examples,
            batch_size=self.batch_size,
            base_learning_rate=self.rate * self.batch_size / 256,
            steps=10 * tens,
            warmup_steps=round(10 * tens * self.warmup),
            l2=self.l2,
            mixup_alpha=self.mixup_alpha,
            resize=RESIZE,
            crop=CROP,
            cropping="random",
        )


UPSTREAM = {"S": UpstreamRow(200), "M": UpstreamRow(60), "L": UpstreamRow(45)}


@dataclasses.dataclass(frozen=True)
class TransferRule:
    """The HyperRule with a smaller batch and smaller images.

    Args:
        batch_size: Images in a step.
        base_learning_rate: Learning rate after the warm-up; not in proportion to the
            batch.
        steps: Number of steps; `None` for the rule's.
        longer: Factor on the steps.
    """

    batch_size: int = 128
    base_learning_rate: float = 0.003
    steps: int | None = None
    longer: int = 1

    def recipe(self, source):
        """Returns the `HyperRule` for a `Source`."""
        rule = bit_keras.HyperRule(
            *source.image_size,
            source.train.num_examples,
            batch_size=self.batch_size,
            base_learning_rate=self.base_learning_rate,
            resize=RESIZE,
            crop=CROP,
        )
        return rule.scaled(steps=self.longer * (self.steps or rule.steps))


def given(values, names):
    """Returns those of the named flags or options that have a value, a dict."""
    found = {name: getattr(values, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def new_backbone(name, dtype=None):
    """Returns a `BiTBackbone` with random weights.

    Args:
        name: One of `MODELS`.
        dtype: Name of a dtype or policy.
    """
    depth, width = MODELS[name]
    return bit_keras.BiTBackbone(depth=depth, width=width, dtype=dtype)
