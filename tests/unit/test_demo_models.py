"""The bundles of one server: who answers while one is replaced, what they share, and how they are named."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_bundles

from sentopt.demo import bundle_names
from sentopt.demo.limits import Limits
from sentopt.demo.loaded import load, sha256_of
from sentopt.demo.models import Models
from sentopt.demo.service import Service
from sentopt.errors import BundleError, RequestRefused, ServingError
from sentopt.runtime.classifier import Classifier


def other_bundle(folder: Path) -> Path:
    small_bundles.write(folder)
    return small_bundles.edit(folder, lambda facts: facts.update(labels=["bad", "so-so", "good"], name="other"))


class Held:
    """A classifier whose calls wait until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, classifier: Classifier) -> None:
        self.called, self.free = threading.Event(), threading.Event()
        for name in ("predict_tokens", "predict_routed"):
            monkeypatch.setattr(classifier, name, self._holding(getattr(classifier, name)))

    def _holding(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        def held(*given: Any, **named: Any) -> Any:
            self.called.set()
            assert self.free.wait(10)
            return answer(*given, **named)

        return held


@pytest.mark.parametrize("explained", [False, True])
def test_a_request_is_finished_by_the_bundle_that_it_met(
    explained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = load(small_bundles.write(tmp_path / "old")), load(other_bundle(tmp_path / "new"))

    async def replace() -> None:
        service = Service(old, Limits())
        await service.start()
        with monkeypatch.context() as patched:
            held = Held(patched, old.classifier)
            # Texts of so many characters are tokenized in a thread first: the batcher sees the request only later.
            under_way: asyncio.Task[Any] = asyncio.create_task(
                service.explain("great " * 9 + "the") if explained else service.answer(["great " * 500])
            )
            await asyncio.to_thread(held.called.wait, 10)
            await service.replace(new)
            now = await service.answer(["great", "terrible"])
            assert (now.by, [one.label for one in now.predictions]) == (new, ["good", "bad"])
            assert not under_way.done()
            assert service.observe().texts == 2
            held.free.set()
            before = await under_way
        if explained:
            assert (before.prediction.label, before.bundle) == ("positive", old.short)
        else:
            assert (before.predictions[0].label, before.by) == ("positive", old)
        await service.stop()
        observed = service.observe()
        assert (observed.texts, observed.stats.texts, observed.sha256) == (3, 2, new.sha256)
        with pytest.raises(RequestRefused, match="stopping"):
            await service.answer(["late"])

    asyncio.run(replace())


def test_a_bundle_that_was_replaced_leaves_the_memory(tmp_path: Path) -> None:
    folder = small_bundles.write(tmp_path / "old")

    async def replace() -> None:
        models = Models({"": folder}, Limits())
        await models.start()
        before = weakref.ref(models.first.classifier)
        gc.collect()
        gc.disable()  # the server freezes what is there at its start: nothing of it may need the collector
        try:
            folder.rename(tmp_path / "before")
            other_bundle(folder)
            assert [one.outcome for one in await models.reload()] == ["replaced"]
            for _ in range(100):
                await asyncio.sleep(0.02)
                if before() is None:
                    break
            assert before() is None
        finally:
            gc.enable()
        await models.stop()

    asyncio.run(replace())


def test_a_folder_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_bundles.write(tmp_path / "bundle")
    opened = Classifier.load

    def replaced_meanwhile(*given: Any, **named: Any) -> Classifier:
        classifier = opened(*given, **named)
        small_bundles.edit(folder, lambda facts: facts.update(name="another"))
        return classifier

    monkeypatch.setattr(Classifier, "load", replaced_meanwhile)
    with pytest.raises(BundleError, match="was replaced while it was read"):
        load(folder)


def test_all_bundles_share_one_bound_on_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"one": small_bundles.write(tmp_path / "one"), "two": other_bundle(tmp_path / "two")}

    async def fill() -> None:
        models = Models(folders, Limits(waiting_tokens=200, wait_seconds=60))
        await models.start()
        one, two = models.all
        held = Held(monkeypatch, one.classifier)
        waiting = []
        for _ in range(3):  # two calls of the model, and what waits for the third
            waiting.append(asyncio.create_task(one.answer(["great " * 20] * 10)))
            await asyncio.sleep(0.1)
        assert held.called.is_set()
        with pytest.raises(RequestRefused, match="too many requests are waiting"):
            await two.answer(["great " * 20] * 10)
        held.free.set()
        await asyncio.gather(*waiting)
        assert len((await two.answer(["great " * 20] * 10)).predictions) == 10
        await models.stop()

    asyncio.run(fill())


def test_folders_are_read_again_one_at_a_time_and_told_in_a_line(tmp_path: Path) -> None:
    folder = small_bundles.write(tmp_path / "bundle")
    said: list[str] = []

    async def reload() -> None:
        models = Models({"a": folder}, Limits(), told=said.append)
        await models.start()
        old = sha256_of(folder)[:12]
        folder.rename(tmp_path / "before")
        other_bundle(folder)
        new = sha256_of(folder)[:12]
        both = await asyncio.gather(models.reload(), models.reload())
        assert [one.outcome for (one,) in both] == ["replaced", "unchanged"]
        small_bundles.edit(folder, lambda facts: facts.update(golden=[], name="unproven"))
        (refused,) = await models.reload()
        assert (refused.outcome, "carries no golden texts" in refused.reason) == ("refused", True)
        await models.stop()
        assert said[:2] == [
            f"a: the bundle {new} answers now, in the place of {old}",
            f"a: the folder still holds the bundle {new}, which answers",
        ]
        assert said[2].startswith(f"a: not replaced, the bundle {new} still answers: this classifier carries")

    asyncio.run(reload())


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ([], {}),
        (["a/b"], {"": "a/b"}),
        (["name=a/b"], {"name": "a/b"}),
        (["./a=b/c"], {"": "./a=b/c"}),
        ([r"C:\a=b"], {"": r"C:\a=b"}),
        (["a.1=x", "_b-2=y=z"], {"a.1": "x", "_b-2": "y=z"}),
    ],
)
def test_bundles_are_named_on_the_command_line(given: list[str], read: dict[str, str]) -> None:
    assert bundle_names.read_bundles(given) == {name: Path(folder) for name, folder in read.items()}


def test_a_folder_with_a_sign_in_its_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    assert bundle_names.read_bundles(["a=b"]) == {"": Path("a=b")}
    assert bundle_names.read_bundles(["a=c"]) == {"a": Path("c")}


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "-a", "ä", "a b", "a\n", 1, None])
def test_names_that_cannot_stand_in_an_address_are_refused(name: Any) -> None:
    with pytest.raises(ServingError, match="a name has letters"):
        bundle_names.checked_names({name: Path("a"), "b": Path("b")})
