"""The paper's Tables 4 and 5 in miniature: which normalization, at which batch size.

    python examples/bit_in_miniature/components.py --data_dir DIR --out_dir OUT

BiT's network is trained on CIFAR-10 with BatchNorm or GroupNorm (BN, GN), and with or
without weight standardization (WS), in batches of 128 or others. Large ones have few
steps in an epoch, and need more epochs and steps of warm-up than what is there by
default:

    components.py ... --batch_sizes 4096 --epochs 150 --rate 0.0125 --warmup_steps 300

Each network is then fine-tuned with a few examples of each class of other sets.
OUT/components.json gets a row as soon as a network is done; the same command goes on
after the last one.

Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 4.3.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import time

import keras
import tensorflow as tf
from recipes import given
from variants import VARIANTS, ComponentBackbone, components_of

import bit_keras
from bit_keras.data.load import eval_batches
from bit_keras.evaluation import evaluate_model
from bit_keras.files import make_folder
from bit_keras.models.backbone import check_architecture
from bit_keras.training.fit import train
from bit_keras.versions import versions
from bit_keras.workflows.fine_tuner import FineTuner, FrozenModel
from bit_keras.workflows.folders import write_json
from bit_keras.workflows.shared_networks import LEAST_ROOM

TARGETS = ("fashion_mnist", "mnist", "emoji9", "trees2")
RESULTS_FILE = "components.json"
# Fields of the recipe that options can change.
CHOICES = {"warmup_steps": int, "l2": float, "clip_norm": float, "mixup_alpha": float}


def upstream_recipe(
    num_examples, batch_size, epochs, pixels, steps=None, rate=0.1, **changes
):
    """Returns how networks are trained from random weights.

    Args:
        num_examples: Number of training examples.
        batch_size: Number of examples in a step; the learning rate is `rate` for 256
            and else in proportion.
        epochs: How often each example is seen.
        pixels: Height and width of images.
        steps: In place of `epochs`, the number of steps.
        rate: Highest learning rate for 256 examples in a step.
        **changes: Other fields of the recipe, such as `warmup_steps` or `l2`.
    """
    if steps is None:
        steps = max(1, round(epochs * num_examples / batch_size))
    fields = {
        "batch_size": batch_size,
        "base_learning_rate": rate * batch_size / 256,
        "steps": steps,
        "warmup_steps": warmup_steps(steps),
        "resize": round(pixels * 9 / 8),
        "crop": pixels,
        "cropping": "random",
        "flip": "random",
        "l2": 1e-4,
    }
    return bit_keras.Upstream("S", num_examples, **fields | changes)


def warmup_steps(steps):
    """Returns how many steps raise the rate: a twentieth, but 100, or a fifth of fewer.

    Large batches leave few steps, and a rate in proportion to their size needs as many
    to be reached. The HyperRule's shortest schedule has 100 of 500, too.
    """
    return round(max(0.05 * steps, min(100, 0.2 * steps)))


def transfer_recipe(num_examples, pixels, steps):
    """Returns how networks are fine-tuned: the HyperRule's rate, in small batches.

    Args:
        num_examples: Number of training examples.
        pixels: Height and width of images.
        steps: Number of steps.
    """
    return bit_keras.HyperRule(
        pixels,
        pixels,
        num_examples,
        batch_size=128,
        base_learning_rate=0.003,
        steps=steps,
        resize=round(pixels * 9 / 8),
        crop=pixels,
    )


@dataclasses.dataclass(frozen=True)
class Transfer:
    """How networks are fine-tuned after their training.

    Args:
        targets: `Source` by name.
        steps: Number of steps.
        pixels: Height and width of images.
        seeds: Each of the draw of examples and of a run with them.
        examples_per_class: Number of examples of each class.
    """

    targets: dict
    steps: int
    pixels: int
    seeds: tuple[int, ...]
    examples_per_class: int = 10

    def settings(self):
        """Returns what tells this from another one, a dict of JSON's types."""
        return {
            "targets": list(self.targets),
            "transfer_steps": self.steps,
            "transfer_seeds": list(self.seeds),
            "examples_per_class": self.examples_per_class,
        }

    @property
    def most_classes(self):
        """Number of classes of the target that has most."""
        classes = (source.num_classes for source in self.targets.values())
        return max(classes, default=LEAST_ROOM)

    def measure(self, tuner):
        """Fine-tunes on all targets.

        Args:
            tuner: A `FineTuner` with room for the classes of all targets.

        Returns:
            For each target the accuracy on all its test images, of each seed.
        """
        return {
            name: [self._accuracy(tuner, source, seed) for seed in self.seeds]
            for name, source in self.targets.items()
        }

    def _accuracy(self, tuner, source, seed):
        few = bit_keras.open_source(
            source, examples_per_class=self.examples_per_class, subset_seed=seed
        )
        recipe = transfer_recipe(few.train.num_examples, self.pixels, self.steps)
        correct = tuner.run(few, recipe, seed)
        return correct / few.test.num_examples


class Trial:
    """One variant, trained in batches of any size, always from the same weights.

    Args:
        variant: One of `VARIANTS`.
        architecture: `Architecture` of the network.
        source: The `Source` to train on.
        seed: Seed of the weights and of the runs.
        policy: Dtype policy of the network.
        room: Most classes of a target.
    """

    def __init__(
        self,
        variant,
        architecture,
        source,
        seed=0,
        policy="mixed_bfloat16",
        room=LEAST_ROOM,
    ):
        keras.utils.set_random_seed(seed)
        backbone = ComponentBackbone(
            variant, architecture.units, architecture.width, dtype=policy
        )
        self.model = bit_keras.BiTClassifier(backbone, source.num_classes)
        self.source = source
        self.seed = seed
        self._start = self.model.get_weights()
        frozen = FrozenModel.open(variant, self.model)
        # One for all targets, for it is compiled but once.
        self._tuner = FineTuner(frozen, room, False)

    def run(self, recipe, transfer, batch_split=1):
        """Trains from the random weights, then fine-tunes.

        Args:
            recipe: The recipe of the training.
            transfer: The `Transfer`.
            batch_split: Number of parts of a batch, as in `train`; more than one would
                change the statistics of BN.

        Returns:
            Accuracies in [0, 1], that of the training images over the whole run, as
            they were cut and mixed; seconds, and images per second of the training,
            with what it takes to compile the network. Without targets `transfer_mean`
            is `None`.
        """
        begin = time.perf_counter()
        self.model.set_weights(self._start)
        progress = train(
            self.model,
            self.source,
            recipe,
            seed=self.seed,
            batch_split=batch_split,
            progress=False,
            # A large batch has an epoch of few steps, which take less time than a test.
            with_tests=False,
        )
        trained = time.perf_counter() - begin
        test = eval_batches(
            self.source, self.source.test, recipe.crop, recipe.eval_resize
        )
        top1 = evaluate_model(self.model, test, progress=False).top1
        accuracies = transfer.measure(self._tuner)
        return {
            "upstream_top1": top1,
            "training_accuracy": _mean(row["accuracy"] for row in progress.rows),
            "transfer": accuracies,
            "transfer_mean": _mean(map(_mean, accuracies.values()))
            if accuracies
            else None,
            "training_seconds": round(trained, 1),
            "images_per_second": round(recipe.steps * recipe.batch_size / trained, 1),
            "seconds": round(time.perf_counter() - begin, 1),
        }


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def run_all(
    variants,
    recipes,
    architecture,
    source,
    transfer,
    out_dir,
    *,
    seed=0,
    policy="mixed_bfloat16",
):
    """Runs all pairs of variant and recipe that have no row yet.

    Args:
        variants: Of `VARIANTS`.
        recipes: Recipes of the training, one for each batch size.
        architecture: `Architecture` of the networks.
        source: The `Source` to train on.
        transfer: The `Transfer`.
        out_dir: Folder of `components.json`.
        seed: As in `Trial`.
        policy: As in `Trial`.

    Returns:
        All rows of the file, of these and of other settings. One whose loss became no
        number has `failed`, a sentence, in place of results.
    """
    make_folder(out_dir)
    path = pathlib.Path(out_dir, RESULTS_FILE)
    rows = json.loads(path.read_text()) if path.exists() else []
    for variant in variants:
        trial = None
        for recipe in recipes:
            setting = {
                "variant": variant,
                "batch_size": recipe.batch_size,
                "seed": seed,
                "model": architecture.name,
                "policy": policy,
                "upstream": source.name,
                "recipe": recipe.to_dict(),
                **transfer.settings(),
            }
            # As the file has it: lists in place of tuples.
            setting = json.loads(json.dumps(setting))
            if any(
                setting == {name: row.get(name) for name in setting} for row in rows
            ):
                continue
            trial = trial or Trial(
                variant, architecture, source, seed, policy, transfer.most_classes
            )
            try:
                results = trial.run(recipe, transfer)
            except bit_keras.RunError as error:
                # That a network does not learn at such a rate is a result, too.
                results = {"failed": str(error)}
            made_by = {"device": device_name(), "versions": versions()}
            rows.append(setting | results | made_by)
            write_json(path, rows)
            print(_as_line(rows[-1]), flush=True)
    return rows


def _as_line(row):
    """Returns what a person wants to know of a row."""
    name = f"{row['variant']}, batch {row['batch_size']}"
    if "failed" in row:
        return f"{name}: {row['failed']}"
    mean = row["transfer_mean"]
    transfer = "" if mean is None else f"{100 * mean:.1f} % after transfer, "
    return (
        f"{name}: {100 * row['upstream_top1']:.1f} % upstream, {transfer}"
        f"{row['seconds']:.0f} s"
    )


def device_name():
    """Returns the name of the first GPU, or `"CPU"`."""
    for gpu in tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_device_details(gpu)["device_name"]
    return "CPU"


def parse_architecture(name):
    """Returns the `Architecture` of a name such as `R26x1` or `R[1,1,1,1]x0.5`.

    Raises:
        InputError: If there is no such network.
    """
    match = re.fullmatch(r"R(?:(\d+)|\[([\d,]+)\])x(\d+(?:\.5)?)", name)
    if not match:
        raise bit_keras.InputError(
            f"`--model` must be a name such as R26x1. Received: {name!r}"
        )
    depth, units, width = match.groups()
    return check_architecture(
        depth and int(depth), float(width), units and list(map(int, units.split(",")))
    )


def parse(arguments):
    """Returns what a command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def texts(text):
        return text.split(",") if text else []

    def numbers(text):
        return tuple(map(int, text.split(",")))

    parser.add_argument("--data_dir", help="folder where TFDS keeps its sets")
    parser.add_argument("--out_dir", required=True, help=f"folder of {RESULTS_FILE}")
    parser.add_argument("--model", default="R26x1")
    parser.add_argument("--upstream", default="cifar10", help="TFDS set to train on")
    parser.add_argument("--epochs", type=float, default=30)
    parser.add_argument("--steps", type=int, help="in place of --epochs")
    parser.add_argument("--rate", type=float, default=0.1, help="for 256 examples")
    for name, kind in CHOICES.items():
        parser.add_argument(f"--{name}", type=kind, help="in place of the recipe's")
    parser.add_argument("--variants", type=texts, default=VARIANTS)
    parser.add_argument("--batch_sizes", type=numbers, default=(128,))
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--targets", type=texts, default=TARGETS)
    parser.add_argument("--transfer_steps", type=int, default=200)
    parser.add_argument("--transfer_seeds", type=numbers, default=(0, 1, 2))
    parser.add_argument("--policy", default="mixed_bfloat16")
    args = parser.parse_args(arguments)
    if not args.variants:
        parser.error(f"--variants needs at least one of {', '.join(VARIANTS)}")
    return args


def recipes_for(args, num_examples):
    """Returns the recipe of each batch size that `parse` was told of."""
    changes = given(args, CHOICES)
    return [
        upstream_recipe(
            num_examples,
            size,
            args.epochs,
            args.pixels,
            args.steps,
            args.rate,
            **changes,
        )
        for size in args.batch_sizes
    ]


def main(arguments=None):
    """Runs what the command line asks for; returns all rows."""
    args = parse(arguments)
    # Before anything is read or written.
    for variant in args.variants:
        components_of(variant)
    architecture = parse_architecture(args.model)
    policy = keras.dtype_policies.get(args.policy).name
    source = bit_keras.open_source(args.upstream, args.data_dir)
    targets = {
        name: bit_keras.open_source(name, args.data_dir) for name in args.targets
    }
    recipes = recipes_for(args, source.train.num_examples)
    transfer = Transfer(targets, args.transfer_steps, args.pixels, args.transfer_seeds)
    return run_all(
        args.variants,
        recipes,
        architecture,
        source,
        transfer,
        args.out_dir,
        seed=args.seed,
        policy=policy,
    )


if __name__ == "__main__":
    main()
