import pytest

from sentopt import errors
from sentopt._optional import check_installed, is_installed, require


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(errors.MissingExtraError, match=r"surely_not_installed.*\n.*sentopt\[train\]"):
        require("surely_not_installed.part", extra="train")


def test_a_missing_package_is_noticed_without_importing_it() -> None:
    check_installed("json.decoder", extra="train")
    with pytest.raises(errors.MissingExtraError, match=r"surely_not_installed.*\n.*sentopt\[train\]"):
        check_installed("surely_not_installed.part", extra="train")


def test_mistakes_of_this_package_are_not_disguised() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        require("sentopt.no_such_module", extra="train")
    assert not isinstance(caught.value, errors.MissingExtraError)


@pytest.mark.parametrize(
    ("module", "expected"), [("json.decoder", True), ("json.nothing", False), ("nothing.at.all", False)]
)
def test_is_installed(module: str, expected: bool) -> None:
    assert is_installed(module) is expected


def test_one_tree_of_errors() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, errors.SentoptError) for kind in classes)
    assert set(errors.__all__) == {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
