import pytest

from bit_keras.errors import InputError, RunError
from bit_keras.files import replaced


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replaced(path) as temporary:
        temporary.write_text("first")
        assert temporary.suffix == ".txt"
        assert not path.exists()
    with replaced(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_an_exception_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("mine")
    with pytest.raises(ZeroDivisionError), replaced(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_disk_is_said_in_a_sentence(tmp_path):
    path = tmp_path / "file.txt"
    message = r"Cannot write .*file.txt \(No space"
    with pytest.raises(RunError, match=message), replaced(path):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="it is a folder"), replaced(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "x"
    with pytest.raises(InputError, match="a file is in its place"), replaced(inside):
        pass
