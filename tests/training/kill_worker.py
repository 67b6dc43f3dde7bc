"""One worker of a run with checkpoints: `kill_worker.py FOLDER`."""

import pathlib
import sys

import numpy as np

from bit_keras.errors import RunError
from bit_keras.training.strategies import is_chief, make_strategy

strategy = make_strategy()  # Before anything else.

from small_runs import (  # noqa: E402
    Uncompiled,
    all_weights,
    make_model,
    make_recipe,
    make_source,
)

from bit_keras.training.fit import columns, train  # noqa: E402
from bit_keras.training.resume import Checkpoints  # noqa: E402

folder = pathlib.Path(sys.argv[1])
model = make_model(strategy)
recipe = make_recipe(Uncompiled, steps=60, decay_steps=(30, 50))
checkpoints = Checkpoints(folder / "checkpoints", writes=is_chief(strategy))
try:
    state = train(
        model,
        make_source(),
        recipe,
        checkpoints=checkpoints,
        checkpoint_steps=4,
        progress=False,
    )
except RunError as error:
    sys.exit(str(error))
if is_chief(strategy):
    history = columns(state.rows)
    np.savez(folder / "result.npz", weights=all_weights(model), **history)
