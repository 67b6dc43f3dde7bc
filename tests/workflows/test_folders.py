"""Which folder a run goes to."""

import pytest

from bit_keras.errors import InputError
from bit_keras.training.resume import Checkpoints
from bit_keras.workflows.folders import free_folder, prepare_folder

ONE, OTHER = {"seed": 1}, {"seed": 2}


def begin_run(folder, configuration):
    Checkpoints(folder / "checkpoints").claim(configuration)


def test_a_new_run_goes_to_the_first_folder_that_holds_nothing(tmp_path):
    path = tmp_path / "runs" / "bit-doodles"
    assert free_folder(path, ONE) == path
    path.mkdir(parents=True)
    assert free_folder(path, ONE) == path
    (path / "report.md").write_text("finished")
    path.with_name("bit-doodles-2").write_text("a file")
    assert free_folder(path, ONE) == path.with_name("bit-doodles-3")


def test_an_unfinished_run_is_found_again(tmp_path):
    path = tmp_path / "bit-doodles"
    begin_run(path, OTHER)
    begin_run(path.with_name("bit-doodles-2"), ONE)
    assert free_folder(path, OTHER) == path
    assert free_folder(path, ONE) == path.with_name("bit-doodles-2")
    assert free_folder(path, {}) == path.with_name("bit-doodles-3")


def test_what_is_there_is_replaced_only_if_that_is_allowed(tmp_path):
    begin_run(tmp_path, ONE)
    assert prepare_folder(tmp_path, configuration=ONE) == tmp_path
    with pytest.raises(InputError, match="`seed` was 1 and is now 2"):
        prepare_folder(tmp_path, configuration=OTHER)
    assert Checkpoints(tmp_path / "checkpoints").is_of(ONE)
    prepare_folder(tmp_path, True, OTHER, makes=False)
    assert Checkpoints(tmp_path / "checkpoints").is_of(ONE)
    prepare_folder(tmp_path, True, OTHER)
    assert not (tmp_path / "checkpoints").exists()
    (tmp_path / "report.md").write_text("finished")
    with pytest.raises(InputError, match="is not empty; give another folder"):
        prepare_folder(tmp_path, configuration=ONE)
