import keras
import pytest

from bit_keras.errors import InputError
from bit_keras.workflows.models import open_model, open_teacher


def test_code_in_a_keras_file_is_never_run(tmp_path):
    def explode(x):
        pytest.fail("the code of the file was run")

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.add(keras.layers.Lambda(lambda x: x + 1))
    model.layers[-1].function = explode
    model.save(tmp_path / "hostile.keras")
    for opened in (open_model, open_teacher):
        with pytest.raises(InputError, match="not a whole .keras file"):
            opened(tmp_path / "hostile.keras")
