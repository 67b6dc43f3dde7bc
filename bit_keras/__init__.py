"""Big Transfer (BiT) for TensorFlow and Keras 3."""

# The first one, before anything starts TensorFlow: see there.
from bit_keras import compile_cache, layers  # isort: skip
from bit_keras.data.load import load_dataset
from bit_keras.data.sources import open_source
from bit_keras.errors import InputError, Interrupted, RunError
from bit_keras.export.saved_model import export_saved_model
from bit_keras.models.backbone import BiTBackbone
from bit_keras.models.classifier import BiTClassifier
from bit_keras.models.predictions import decode_predictions
from bit_keras.models.presets import list_presets
from bit_keras.models.weights import load_weights, save_npz
from bit_keras.recipes.distillation import Distillation
from bit_keras.recipes.hyperrule import HyperRule
from bit_keras.recipes.optimizers import MomentumSGD
from bit_keras.recipes.upstream import Upstream
from bit_keras.training.strategies import make_strategy
from bit_keras.workflows.finetune import finetune
from bit_keras.workflows.pretrain import pretrain

__all__ = [
    "BiTBackbone",
    "BiTClassifier",
    "Distillation",
    "HyperRule",
    "InputError",
    "Interrupted",
    "MomentumSGD",
    "RunError",
    "Upstream",
    "compile_cache",
    "decode_predictions",
    "export_saved_model",
    "finetune",
    "layers",
    "list_presets",
    "load_dataset",
    "load_weights",
    "make_strategy",
    "open_source",
    "pretrain",
    "save_npz",
]
