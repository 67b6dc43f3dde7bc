"""Upstream training from data to weights in the published layout."""

from bit_keras.data.sources import open_source
from bit_keras.models.weights import save_npz
from bit_keras.recipes.upstream import Upstream
from bit_keras.workflows.training import RunOptions, run_training

WEIGHTS_FILE = "weights.npz"


def pretrain(
    model,
    dataset,
    recipe,
    out_dir=None,
    *,
    name=None,
    data_dir=None,
    seed=0,
    overwrite=False,
    notes=(),
    teacher=None,
    **options,
):
    """Trains a model from random weights, evaluates, saves and reports.

    Args:
        model: As in `finetune`; the bias of its head is set to what the recipe says.
        dataset: As in `finetune`.
        recipe: An `Upstream` recipe, or a `Distillation` one.
        out_dir: As in `finetune`.
        name: As in `finetune`.
        data_dir: As in `finetune`.
        seed: As in `finetune`.
        overwrite: As in `finetune`.
        notes: As in `finetune`.
        teacher: As in `finetune`.
        **options: Of `RunOptions`, such as `batch_split` and `checkpoint_steps`.

    Returns:
        A `TrainingResult`. The folder holds what `finetune` leaves, but `weights.npz`
        in the published layout in place of a SavedModel: what `finetune` and every
        other BiT code can start from.

    Raises:
        InputError: As in `finetune`.
        RunError: As in `finetune`.
        Interrupted: As in `finetune`.

    Example:

    >>> model = BiTClassifier(BiTBackbone(depth=50), num_classes=1000)
    >>> pretrain(model, "imagenet2012", Upstream("S", num_examples=1_281_167))
    """
    options = RunOptions.of(options)

    def write_weights(model, out_dir):
        save_npz(model, out_dir / WEIGHTS_FILE)
        options.say(f"Weights in the published layout: {out_dir / WEIGHTS_FILE}")

    source = open_source(dataset, data_dir)
    if isinstance(recipe, Upstream):
        model.head.bias.assign([recipe.head_bias] * model.num_classes)
    return run_training(
        model,
        source,
        recipe,
        out_dir,
        write_weights,
        what="pre-trained",
        name=name,
        seed=seed,
        overwrite=overwrite,
        notes=notes,
        teacher=teacher,
        options=options,
    )
