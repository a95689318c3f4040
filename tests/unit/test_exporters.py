"""Which exporter traces a graph: what the recipe asks for, and what the environment has."""

import re
from collections.abc import Callable

import pytest

from sentopt.errors import ExportError, MissingExtraError
from sentopt.stages import exporters
from sentopt.wording import in_python

Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Pretends to have these versions; without one of optimum-onnx, Optimum is not installed."""

    def pretend(*, transformers: str, optimum_onnx: str = "", needs: tuple[str, ...] = ()) -> None:
        found = {"transformers": transformers, "optimum-onnx": optimum_onnx}
        monkeypatch.setattr(exporters, "is_installed", lambda module: bool(optimum_onnx))
        monkeypatch.setattr("importlib.metadata.version", found.__getitem__)
        monkeypatch.setattr("importlib.metadata.requires", {"optimum-onnx": list(needs)}.__getitem__)

    return pretend


RELEASED = ("optimum~=2.1.0", "transformers<4.58.0,>=4.36", "onnx", 'pytest; extra == "tests"')


def test_optimum_traces_where_it_supports_transformers(environment: Environment) -> None:
    environment(transformers="4.57.6", optimum_onnx="0.1.0", needs=RELEASED)
    assert exporters.choose("auto") == ("optimum", ())
    assert exporters.choose("optimum") == ("optimum", ())
    assert exporters.choose("torch") == ("torch", ())


def test_without_optimum_pytorch_traces(environment: Environment) -> None:
    environment(transformers="5.24.0")
    assert exporters.choose("auto") == ("torch", ())
    with pytest.raises(MissingExtraError, match=r'pip install "sentopt\[optimum\]"') as caught:
        exporters.choose("optimum")
    assert "overrides={'export.exporter': 'torch'}" in in_python(str(caught.value))


@pytest.mark.parametrize("version", ["5.24.0", "4.58.0", "5.0.0rc1"])
def test_an_optimum_that_was_forced_beside_another_transformers_is_not_used(
    version: str, environment: Environment
) -> None:
    environment(transformers=version, optimum_onnx="0.1.0", needs=RELEASED)
    said = rf"optimum-onnx 0\.1\.0 needs transformers<4\.58\.0,>=4\.36, found {version}"
    exporter, (notice,) = exporters.choose("auto")
    assert exporter == "torch"
    with pytest.raises(ExportError, match=said):
        exporters.choose("optimum")
    assert re.match(said, notice)
    assert exporters.choose("torch") == ("torch", ())


@pytest.mark.parametrize("needs", [("transformers>=5",), ("transformers",), ("onnx",), ()])
def test_a_later_optimum_is_used_as_soon_as_it_allows_transformers_5(
    needs: tuple[str, ...], environment: Environment
) -> None:
    environment(transformers="5.24.0", optimum_onnx="0.2.0", needs=needs)
    assert exporters.choose("auto") == ("optimum", ())
