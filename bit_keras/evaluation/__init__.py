"""How good a model is: exact figures, pictures and a report."""

from bit_keras.evaluation.accuracy import Evaluation, evaluate_model, wilson_interval
from bit_keras.evaluation.examples import choose_examples, pick_images
from bit_keras.evaluation.pictures import write_pictures
from bit_keras.evaluation.plots import (
    confusion_matrix,
    learning_curve,
    prediction_sheet,
    reliability_diagram,
)
from bit_keras.evaluation.report import describe_environment, write_report

__all__ = [
    "Evaluation",
    "choose_examples",
    "confusion_matrix",
    "describe_environment",
    "evaluate_model",
    "learning_curve",
    "pick_images",
    "prediction_sheet",
    "reliability_diagram",
    "wilson_interval",
    "write_pictures",
    "write_report",
]
