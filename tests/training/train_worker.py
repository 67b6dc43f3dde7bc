"""One worker of a run: `train_worker.py RESULT`; the chief writes the result."""

import sys

import numpy as np

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

model = make_model(strategy)
state = train(
    model,
    make_source(),
    make_recipe(Uncompiled),
    batch_split=2,
    steps_per_execution=2,
    progress=False,
)
if is_chief(strategy):
    history = columns(state.rows)
    np.savez(sys.argv[1], weights=all_weights(model), **history)
