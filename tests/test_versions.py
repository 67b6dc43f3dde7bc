import importlib.metadata

from bit_keras.versions import versions


def test_the_package_version_is_that_of_the_installed_one(monkeypatch):
    installed = {"bit-keras": "1.2.3"}
    monkeypatch.setattr(importlib.metadata, "version", installed.get)
    assert versions()["bit_keras"] == "1.2.3"

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert versions()["bit_keras"] == "unknown"
