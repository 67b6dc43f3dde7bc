"""CIFAR-10 from random weights, within ten minutes of a GPU.

    python examples/bit_in_miniature/cifar10.py --data_dir ~/tensorflow_datasets

The steps and sizes are those of the BiT-HyperRule for CIFAR-10: 10,000 batches of 512
images of 128 pixels. Random weights need a higher rate than the rule's, weight decay,
stronger MixUp, and crops that leave more of the image. `--cosine --l2 1e-3 --resize
160` is another recipe: no better, and no worse. `--cutmix` puts rectangles of other
images into half of them, in place of MixUp.

Crops of a larger image show things larger than a test image of the crop's size does.
So the result is told for test images of the size of the larger one, too.
"""

import dataclasses
import pathlib
from typing import ClassVar

import keras
import tensorflow as tf
from absl import app, flags
from recipes import given

import bit_keras
from bit_keras.data.load import eval_batches
from bit_keras.evaluation import evaluate_model
from bit_keras.recipes import checks
from bit_keras.recipes.optimizers import MomentumSGD
from bit_keras.recipes.schedules import WarmupCosine

# Flags that are arguments of `make_recipe`.
CHOICES = ("l2", "resize", "cosine", "steps", "batch_size", "crop")


@dataclasses.dataclass(frozen=True)
class FromScratch(bit_keras.HyperRule):
    """The HyperRule for random weights: with weight decay.

    Args:
        l2: Coupled weight decay of kernels.
        cosine: Whether the rate falls as a cosine, in place of the rule's decays.
    """

    _: dataclasses.KW_ONLY
    l2: float = 3e-4
    cosine: bool = False

    CHECKS: ClassVar = bit_keras.HyperRule.CHECKS | {
        "l2": checks.strength,
        "cosine": checks.one_of(False, True),
    }

    @property
    def learning_rate(self):
        """The learning rate by step, a Keras `LearningRateSchedule`."""
        if not self.cosine:
            return super().learning_rate
        return WarmupCosine(self.base_learning_rate, self.warmup_steps, self.steps)

    def _make_optimizer(self):
        return MomentumSGD(self.learning_rate, form=self.momentum_form, l2=self.l2)


def train_with_cutmix(model):
    """Lets `fit` put rectangles of other images into those of each batch.

    Args:
        model: A `BiTClassifier`, which is still one wherever it is loaded.
    """
    plain_step = model.train_step

    def train_step(data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        # The same for the same step, also after one that was resumed.
        step = tf.cast(model.optimizer.iterations, tf.int32)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        mixed = cutmix(images, labels, tf.stack([step, replica]))
        return plain_step((*mixed, weights))

    model.train_step = train_step


def cutmix(images, labels, seed):
    """Puts a rectangle of the image before it into about half of the images of a batch.

    Args:
        images: `(batch, height, width, channels)`.
        labels: Floats of shape `(batch, classes)`.
        seed: Two integers; equal ones give equal results.

    Returns:
        Images and labels, of which the other image's have the share of its pixels. The
        rectangle has the proportions of the image, its area before it is cut off at
        the border is uniform in [0, 1], and so is its centre.

    Source: Yun et al., "CutMix", arXiv 1905.04899, with alpha of 1.
    """
    draws = tf.random.stateless_uniform((4, tf.shape(images)[0]), seed)
    chosen, area, down, across = tf.unstack(draws)
    half = tf.where(chosen < 0.5, tf.sqrt(area) / 2, 0.0)[:, None]

    def covered(size, centres):
        places = (tf.range(size, dtype=tf.float32) + 0.5) / size
        return tf.abs(places - centres[:, None]) < half

    rows, columns = covered(images.shape[1], down), covered(images.shape[2], across)
    inside = rows[:, :, None] & columns[:, None, :]
    share = tf.reduce_mean(tf.cast(inside, labels.dtype), axis=(1, 2))[:, None]
    mixed = tf.where(inside[..., None], tf.roll(images, 1, axis=0), images)
    return mixed, (1 - share) * labels + share * tf.roll(labels, 1, axis=0)


def make_recipe(
    source,
    rate=0.2,
    l2=FromScratch.l2,
    resize=144,
    cosine=False,
    mixup_alpha=0.2,
    **changes,
):
    """Returns the recipe for a set.

    Args:
        source: A `Source`.
        rate: Learning rate after the warm-up, for 512 images.
        l2: As in `FromScratch`.
        resize: Pixels of images before the crop of 128.
        cosine: As in `FromScratch`.
        mixup_alpha: Of MixUp, 0 for none.
        **changes: Of `HyperRule.scaled`.
    """
    rule = FromScratch(
        *source.image_size,
        source.train.num_examples,
        base_learning_rate=rate,
        resize=resize,
        mixup_alpha=mixup_alpha,
        l2=l2,
        cosine=cosine,
    )
    return rule.scaled(**changes)


def main(values):
    """Trains one model for each seed."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    source = bit_keras.open_source(values.dataset, values.data_dir)
    for seed in range(values.first_seed, values.first_seed + values.seeds):
        keras.utils.set_random_seed(seed)
        backbone = bit_keras.BiTBackbone(depth=values.depth, width=values.width)
        model = bit_keras.BiTClassifier(backbone, source.num_classes)
        choices = given(values, CHOICES)
        if values.cutmix:
            train_with_cutmix(model)
            choices["mixup_alpha"] = 0.0
        recipe = make_recipe(source, **choices)
        print(recipe.describe())
        result = bit_keras.finetune(
            model,
            source,
            recipe,
            pathlib.Path(values.out_dir, f"seed-{seed}"),
            seed=seed,
            say=print,
        )
        larger = eval_batches(source, source.test, recipe.resize)
        at_resize = evaluate_model(result.model, larger).top1
        print(
            f"Seed {seed}: {100 * result.evaluation.top1:.2f} % at {recipe.crop} px, "
            f"{100 * at_resize:.2f} % at {recipe.resize} px, {result.timings}",
            flush=True,
        )


def define_flags():
    """Defines what can be asked for."""
    flags.DEFINE_string("dataset", "cifar10", "As `bit-keras finetune --dataset`.")
    flags.DEFINE_string("data_dir", None, "Folder where TFDS keeps its sets.")
    flags.DEFINE_string("out_dir", "runs/cifar10-from-scratch", "Folder for the runs.")
    flags.DEFINE_integer("depth", 50, "Of the network.")
    flags.DEFINE_float("width", 1.0, "Of the network.")
    flags.DEFINE_integer("seeds", 1, "Number of runs.")
    flags.DEFINE_integer("first_seed", 0, "Seed of the first one.")
    flags.DEFINE_bool("cosine", False, "Whether the rate falls as a cosine.")
    flags.DEFINE_bool("cutmix", False, "Rectangles of other images, and no MixUp.")
    flags.DEFINE_float("l2", None, "In place of the recipe's.")
    for name in ("resize", "steps", "batch_size", "crop"):
        flags.DEFINE_integer(name, None, "In place of the recipe's.")


if __name__ == "__main__":
    define_flags()
    app.run(lambda _: main(flags.FLAGS))
