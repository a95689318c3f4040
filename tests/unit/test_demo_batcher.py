"""Many requests, one classifier: who is answered when, and that nothing is lost, mixed up or left waiting."""

import asyncio
import contextlib
import functools
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from sentopt.demo.batcher import Batcher
from sentopt.demo.counters import Counters
from sentopt.demo.limits import Limits
from sentopt.errors import RequestRefused
from sentopt.runtime.classifier import Prediction
from sentopt.runtime.tokenization import Tokens
from sentopt.runtime.tuning import Tuning

SMALL = Tuning(threads=1, workers=1, max_batch=16, max_tokens=512)


class EchoingModel:
    """A classifier and its encoder: every byte is a token, and every text its own label."""

    def __init__(self, tuning: Tuning = SMALL, *, seconds: float = 0.0) -> None:
        self.tuning = tuning
        self.encoder = self
        self.max_length = 1_000_000
        self.seconds = seconds
        self.calls: list[list[str]] = []
        self.counted: list[str] = []
        self.free, self.encoding = threading.Event(), threading.Event()
        self.free.set()
        self.encoding.set()

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        assert self.encoding.wait(5)
        return [Tokens(ids := tuple(text.encode()), (0,) * len(ids), False) for text in texts]

    def predict_routed(self, tokens: Sequence[Tokens], *, counted: Sequence[bool]) -> tuple[list[Prediction], None]:
        texts = [bytes(t.ids).decode() for t in tokens]
        self.calls.append(texts)
        self.counted += [text for text, counts in zip(texts, counted, strict=True) if counts]
        assert self.free.wait(5)
        time.sleep(self.seconds)
        if "poison" in texts:
            raise ArithmeticError("poisoned")
        return [Prediction(text, 1.0, {text: 1.0}, False) for text in texts], None


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: object, **named: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(5):
                await test(*args, **named)

        asyncio.run(bounded())

    return run


@contextlib.asynccontextmanager
async def running(model: EchoingModel, **limits: float) -> AsyncIterator[Batcher]:
    patient = Limits(**{"wait_seconds": 60.0, **limits})  # type: ignore[arg-type]
    batcher = Batcher(model, patient, Counters())  # type: ignore[arg-type]
    batcher.start()
    try:
        yield batcher
    finally:
        model.free.set()
        model.encoding.set()
        await batcher.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def labels(batcher: Batcher, texts: Sequence[str]) -> list[str]:
    return [prediction.label for prediction in await batcher.predict(texts)]


async def occupy(model: EchoingModel, batcher: Batcher) -> list[asyncio.Task[list[str]]]:
    """Two requests that the model does not finish before it is set free; whatever comes next has to wait."""
    model.free.clear()
    requests = []
    for name in ("busy 1", "busy 2"):
        requests.append(asyncio.create_task(labels(batcher, [name])))
        await until(functools.partial(lambda text: model.calls[-1:] == [[text]], name))
    return requests


async def send(batcher: Batcher, texts: Sequence[str]) -> asyncio.Task[list[str]]:
    """A request that has been accepted and waits."""
    waiting = batcher.waiting_texts + len(texts)
    request = asyncio.create_task(labels(batcher, texts))
    await until(lambda: batcher.waiting_texts == waiting)
    return request


def random_requests(seed: int, *, most_texts: int, most_characters: int) -> list[list[str]]:
    chance = random.Random(seed)
    return [
        [f"{request}/{i} ".ljust(chance.randrange(most_characters), "x") for i in range(chance.randrange(most_texts))]
        for request in range(40)
    ]


@pytest.mark.parametrize("seed", range(3))
@in_loop
async def test_every_request_gets_its_own_answers_in_order(seed: int) -> None:
    requests = random_requests(seed, most_texts=90, most_characters=80)
    async with running(EchoingModel()) as batcher:

        async def ask(texts: list[str]) -> list[str]:
            await asyncio.sleep(random.Random(len(texts)).random() / 50)
            return await labels(batcher, texts)

        assert await asyncio.gather(*map(ask, requests)) == requests
        assert (batcher.waiting_tokens, batcher.waiting_texts) == (0, 0)


@in_loop
async def test_nothing_asked_is_nothing_answered() -> None:
    async with running(model := EchoingModel()) as batcher:
        assert await batcher.predict([]) == []
    assert model.calls == []


@pytest.mark.parametrize("workers", [1, 3])
@in_loop
async def test_no_call_has_more_texts_than_the_workers_take_at_once(workers: int) -> None:
    model = EchoingModel(Tuning(threads=1, workers=workers, max_batch=8, max_tokens=10_000))
    async with running(model) as batcher:
        await asyncio.gather(
            *(labels(batcher, texts) for texts in random_requests(7, most_texts=40, most_characters=20))
        )
    assert max(map(len, model.calls)) == 8 * workers


@pytest.mark.parametrize("workers", [1, 3])
@in_loop
async def test_no_call_has_more_tokens_than_the_workers_take_at_once(workers: int) -> None:
    model = EchoingModel(Tuning(threads=1, workers=workers, max_batch=64, max_tokens=100))
    async with running(model) as batcher:
        await asyncio.gather(
            *(labels(batcher, texts) for texts in random_requests(7, most_texts=40, most_characters=60))
        )
    sizes = [sum(len(text.encode()) for text in call) for call in model.calls]
    assert max(sizes) <= 100 * workers


@in_loop
async def test_a_text_above_the_bound_is_answered_alone() -> None:
    model = EchoingModel(Tuning(threads=1, workers=1, max_batch=8, max_tokens=50))
    async with running(model) as batcher:
        await occupy(model, batcher)
        request = await send(batcher, ["x" * 200, "short", "y" * 50])
        model.free.set()
        assert await request == ["x" * 200, "short", "y" * 50]
    assert ["x" * 200] in model.calls


@in_loop
async def test_what_arrives_while_the_model_is_busy_shares_a_call() -> None:
    async with running(model := EchoingModel()) as batcher:
        await occupy(model, batcher)
        requests = [await send(batcher, [f"text {i}"]) for i in range(5)]
        model.free.set()
        assert await asyncio.gather(*requests) == [[f"text {i}"] for i in range(5)]
    assert model.calls[2:] == [[f"text {i}" for i in range(5)]]


@in_loop
async def test_one_text_waits_for_nothing_but_calls_that_have_begun() -> None:
    async with running(model := EchoingModel()) as batcher:
        assert await labels(batcher, ["alone"]) == ["alone"]
        await occupy(model, batcher)
        request = await send(batcher, ["next"])
        model.free.set()
        assert await request == ["next"]
    assert model.calls == [["alone"], ["busy 1"], ["busy 2"], ["next"]]


@pytest.mark.parametrize("workers", [1, 2])
@in_loop
async def test_one_text_does_not_wait_for_a_thousand_of_another(workers: int) -> None:
    model = EchoingModel(Tuning(threads=1, workers=workers))
    many = [f"many {i}" for i in range(1_000)]
    ended: list[str] = []

    async def ask(texts: list[str]) -> None:
        assert await labels(batcher, texts) == texts
        ended.append(texts[0])

    async with running(model) as batcher:
        model.free.clear()
        first = asyncio.create_task(ask(many))
        await until(lambda: len(model.calls) == 2)
        second = asyncio.create_task(ask(["one"]))
        await until(lambda: batcher.waiting_texts == 1_001 - sum(map(len, model.calls)))
        model.free.set()
        await asyncio.gather(first, second)
    assert ended == ["one", "many 0"]
    assert any("one" in call for call in model.calls[:4])
    assert len(model.calls) > 20


@in_loop
async def test_large_requests_take_turns() -> None:
    model = EchoingModel(Tuning(threads=1, workers=1, max_batch=64, max_tokens=10_000))
    async with running(model) as batcher:
        await occupy(model, batcher)
        requests = [await send(batcher, [f"{name}{i}" for i in range(100)]) for name in "abc"]
        model.free.set()
        await asyncio.gather(*requests)
    order = [text[0] for call in model.calls[2:] for text in call]
    turns = [order[i : i + 48] for i in range(0, 288, 48)]
    assert all({name: turn.count(name) for name in turn} == {"a": 16, "b": 16, "c": 16} for turn in turns)


@in_loop
async def test_too_much_is_refused_at_once_and_work_goes_on() -> None:
    async with running(model := EchoingModel(), waiting_tokens=100) as batcher:
        busy = await occupy(model, batcher)
        accepted = await send(batcher, ["x" * 80])
        with pytest.raises(RequestRefused) as caught:
            async with asyncio.timeout(0.2):
                await batcher.predict(["y" * 21])
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        assert batcher.waiting_tokens == 80
        model.free.set()
        assert await accepted == ["x" * 80]
        await asyncio.gather(*busy)
        assert await labels(batcher, ["y" * 21]) == ["y" * 21]
        assert batcher.waiting_tokens == 0
    assert ["y" * 21] not in model.calls[:3]


@in_loop
async def test_what_would_wait_too_long_is_refused_and_what_is_short_is_not() -> None:
    model = EchoingModel(seconds=0.02)
    async with running(model, wait_seconds=1.0) as batcher:
        await labels(batcher, ["x" * 100])  # at most 5,000 tokens a second
        model.seconds = 0.0
        await occupy(model, batcher)
        long = [["x" * 60] * 10 for _ in range(20)]
        answers = asyncio.gather(*(labels(batcher, texts) for texts in long), return_exceptions=True)
        await until(lambda: batcher.waiting_texts > 0)
        short = await send(batcher, ["?"])
        model.free.set()
        assert await short == ["?"]
        refused = [answer for answer in await answers if isinstance(answer, RequestRefused)]
        assert 1 <= len(refused) <= 18
        assert {(error.status, error.retry_after) for error in refused} == {(503, 1)}
        assert [answer for answer in answers.result() if answer not in refused] == long[: 20 - len(refused)]
        assert batcher.waiting_tokens == 0


@in_loop
async def test_refusals_for_overload_are_counted() -> None:
    counters = Counters()
    batcher = Batcher(EchoingModel(), Limits(waiting_tokens=3), counters)  # type: ignore[arg-type]
    with pytest.raises(RequestRefused):
        await batcher.predict(["four"])
    assert b'sentopt_refused_total{reason="overload"} 1.0' in counters.page()
    await batcher.close()


@in_loop
async def test_requests_that_were_given_up_are_not_computed() -> None:
    async with running(model := EchoingModel()) as batcher:
        busy = await occupy(model, batcher)
        given_up = [await send(batcher, [f"given up {i}", "x" * 50]) for i in range(3)]
        wanted = await send(batcher, ["wanted"])
        for request in (busy[0], *given_up):
            request.cancel()
        model.free.set()
        assert await wanted == ["wanted"]
        assert await busy[1] == ["busy 2"]
        assert (batcher.waiting_tokens, batcher.waiting_texts) == (0, 0)
    assert model.calls == [["busy 1"], ["busy 2"], ["wanted"]]


@in_loop
async def test_nothing_waits_after_the_only_request_was_given_up() -> None:
    async with running(model := EchoingModel()) as batcher:
        model.free.clear()
        request = asyncio.create_task(labels(batcher, ["x" * 50] * 100))
        await until(lambda: len(model.calls) == 2)
        request.cancel()
        model.free.set()
        await until(lambda: batcher.waiting_tokens == 0)
        assert batcher.waiting_texts == 0
        assert await labels(batcher, ["and on"]) == ["and on"]
    assert sum(map(len, model.calls)) < 100


@in_loop
async def test_an_error_reaches_those_whose_texts_shared_the_call() -> None:
    async with running(model := EchoingModel()) as batcher:
        busy = await occupy(model, batcher)
        concerned = [await send(batcher, texts) for texts in (["before", "poison"], ["beside"])]
        model.free.set()
        for request in concerned:
            with pytest.raises(ArithmeticError, match="poisoned"):
                await request
        assert await asyncio.gather(*busy) == [["busy 1"], ["busy 2"]]
        assert await labels(batcher, ["after"]) == ["after"]
        assert (batcher.waiting_tokens, batcher.waiting_texts) == (0, 0)


@in_loop
async def test_the_rest_of_a_request_that_failed_is_not_computed() -> None:
    async with running(model := EchoingModel()) as batcher:
        with pytest.raises(ArithmeticError):
            await labels(batcher, ["poison", *(f"text {i}" for i in range(999))])
        await until(lambda: batcher.waiting_tokens == 0)
        assert batcher.waiting_texts == 0
        assert await labels(batcher, ["after"]) == ["after"]
    assert sum(map(len, model.calls)) < 200


@in_loop
async def test_closing_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    async with running(model := EchoingModel()) as batcher:
        busy = await occupy(model, batcher)
        waiting = await send(batcher, [f"text {i}" for i in range(100)])
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(RequestRefused, match="stopping") as caught:
            await batcher.predict(["too late"])
        assert caught.value.status == 503
        assert caught.value.retry_after
        assert not closing.done()
        model.free.set()
        await closing
        assert [request.done() for request in (*busy, waiting)] == [True] * 3
        assert await waiting == [f"text {i}" for i in range(100)]
        with pytest.raises(RequestRefused, match="stopping"):
            await batcher.predict(["much too late"])


@in_loop
async def test_what_is_still_being_tokenized_when_closing_is_refused() -> None:
    async with running(model := EchoingModel()) as batcher:
        model.encoding.clear()
        request = asyncio.create_task(labels(batcher, ["x" * 1_500] * 2))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        model.encoding.set()
        with pytest.raises(RequestRefused, match="stopping"):
            await request
        await closing
    assert model.calls == []


@in_loop
async def test_other_requests_are_answered_while_a_large_one_is_tokenized() -> None:
    class SlowForLongTexts(EchoingModel):
        def encode(self, texts: Sequence[str]) -> list[Tokens]:
            assert len(texts[0]) < 1_000 or self.encoding.wait(5)
            return super().encode(texts) if self.encoding.is_set() else [Tokens((33,), (0,), False) for _ in texts]

    async with running(model := SlowForLongTexts()) as batcher:
        model.encoding.clear()
        large = asyncio.create_task(labels(batcher, ["x" * 1_500] * 2))
        assert await labels(batcher, ["short"]) == ["!"]
        assert not large.done()
        model.encoding.set()
        assert await large == ["x" * 1_500] * 2


@in_loop
async def test_what_waits_and_what_is_computed_can_be_watched() -> None:
    counters = Counters()
    model = EchoingModel()
    batcher = Batcher(model, Limits(), counters)  # type: ignore[arg-type]
    batcher.start()
    busy = await occupy(model, batcher)
    waiting = await send(batcher, ["four", "seven.."])
    page = counters.page().decode()
    assert "sentopt_waiting_texts 2.0" in page
    assert "sentopt_waiting_tokens 11.0" in page
    model.free.set()
    await asyncio.gather(*busy, waiting)
    await batcher.close()
    page = counters.page().decode()
    assert "sentopt_waiting_texts 0.0" in page
    assert "sentopt_batch_texts_count 3.0" in page
    assert "sentopt_batch_texts_sum 4.0" in page
    assert "sentopt_batch_tokens_sum 23.0" in page


@in_loop
async def test_texts_that_are_being_tokenized_count_as_waiting() -> None:
    async with running(model := EchoingModel()) as batcher:
        model.encoding.clear()
        large = asyncio.create_task(labels(batcher, ["x" * 3_000] * 2))
        await asyncio.sleep(0.05)
        assert batcher.waiting_tokens >= 2 * 3_000 // 12
        model.encoding.set()
        assert len(await large) == 2
        assert batcher.waiting_tokens == 0


@in_loop
async def test_texts_that_nobody_sent_do_not_count() -> None:
    async with running(model := EchoingModel()) as batcher:
        await occupy(model, batcher)
        explained = asyncio.create_task(batcher.predict([f"explained {i}" for i in range(40)], counted=1))
        await until(lambda: batcher.waiting_texts == 40)
        warming = asyncio.create_task(batcher.predict(["warming up"], counted=0))
        await until(lambda: batcher.waiting_texts == 41)
        usual = await send(batcher, ["sent 1", "sent 2"])
        model.free.set()
        await asyncio.gather(explained, warming, usual)
    assert sorted(model.counted) == ["busy 1", "busy 2", "explained 0", "sent 1", "sent 2"]
