"""A student in PyTorch is its lean graph; its training is deterministic, resumable, and learns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch

from sentopt.backends import opening
from sentopt.errors import ExportError, TrainingInterrupted
from sentopt.graph import families, lean, student_file
from sentopt.graph.architecture import Architecture
from sentopt.graph.products import FloatProducts
from sentopt.measure import hardware
from sentopt.recipe import DistillSection
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.tokenization import Batch, Tokens
from sentopt.training import distillation
from sentopt.training.distillation import Distilled, Lessons, distil, layers_of
from sentopt.training.student import Student

SETTINGS = DistillSection(layers=(2,), epochs=3.0, batch_size=8, learning_rate=1e-3, shared=1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    folder = tmp_path_factory.mktemp("teacher")
    tiny_models.save("bert", folder, num_hidden_layers=4)
    return families.read(folder)


@pytest.fixture(scope="module")
def lessons(teacher: Architecture) -> Lessons:
    texts = tiny_models.texts([3, 9, 14, 5, 20, 7] * 8)
    return Lessons([Tokens(tuple(t), (0,) * len(t), False) for t in texts], answers(teacher, texts))


def answers(model: Architecture, texts: list[list[int]]) -> FloatArray:
    session = OnnxSession(lean.write(model, FloatProducts()).SerializeToString())
    rows = [np.array([text], dtype=np.int64) for text in texts]
    return np.concatenate([session.run(Batch(row, np.ones_like(row), np.zeros_like(row))) for row in rows])


@pytest.fixture
def train(teacher: Architecture, lessons: Lessons, tmp_path: Path) -> Callable[..., Distilled]:
    def run(settings: DistillSection = SETTINGS, *, key: str = "key", broken: bool = False) -> Distilled:
        given = replace(lessons, logits=lessons.logits * np.float32(np.nan)) if broken else lessons
        layers = layers_of(teacher, 2, settings.shared_by(2))
        state = tmp_path / "state.safetensors"
        return distil(teacher, layers, given, settings, seed=3, state=state, key=key, pad_token_id=0)

    return run


@pytest.mark.parametrize("family", list(tiny_models.FAMILIES))
def test_the_module_computes_what_the_lean_graph_computes(family: str, tmp_path: Path) -> None:
    tiny_models.save(family, tmp_path)
    model = families.read(tmp_path)
    texts = tiny_models.texts([1, 17, 3, 23])
    ids, mask = torch.zeros((4, 25), dtype=torch.int64), torch.zeros((4, 25))
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), 1.0
    ids[mask == 0] = model.embeddings.padding_id
    module = Student(model, list(range(len(model.blocks))))
    with torch.no_grad():
        assert np.allclose(module(ids, mask).numpy(), answers(model, texts), atol=1e-4)
    assert student_file.to_bytes(module.architecture()) == student_file.to_bytes(model)


@pytest.mark.parametrize(
    ("count", "shared", "layers"),
    [(1, 0, [5]), (2, 0, [1, 5]), (3, 0, [0, 2, 5]), (2, 1, [0, 5]), (3, 1, [0, 2, 5]), (3, 2, [0, 1, 5])],
)
def test_the_layers_that_a_student_starts_from(
    teacher: Architecture, count: int, shared: int, layers: list[int]
) -> None:
    assert layers_of(replace(teacher, blocks=teacher.blocks[:1] * 6), count, shared) == layers


def test_a_student_that_reads_less_shares_nothing() -> None:
    assert SETTINGS.shared_by(2) == 1
    assert SETTINGS.shared_by(1) == 0
    assert replace(SETTINGS, max_length=8).shared_by(2) == 0


@pytest.mark.skipif(not hardware.describe().has_bf16(), reason="this CPU has no BF16")
def test_a_limit_of_openmp_makes_no_wrong_products(
    train: Callable[..., Distilled], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OMP_THREAD_LIMIT is 1 in these tests. With more threads than that, the first gradients in BF16 are NaN."""
    monkeypatch.setattr(opening, "is_bf16_faster", lambda: True)
    torch.set_num_threads(2)
    assert np.isfinite(train(key="limited").loss)


def test_a_student_learns_what_its_teacher_answers(
    teacher: Architecture, lessons: Lessons, train: Callable[..., Distilled]
) -> None:
    before = replace(teacher, blocks=(teacher.blocks[0], teacher.blocks[3]))
    after = train(replace(SETTINGS, epochs=20.0))
    texts = [list(t.ids) for t in lessons.tokens]
    errors = [float(((answers(m, texts) - lessons.logits) ** 2).mean()) for m in (before, after.architecture)]
    assert errors[1] < 0.5 * errors[0]
    assert after.loss < errors[0]


def test_embeddings_and_shared_layers_stay_as_they_are(teacher: Architecture, train: Callable[..., Distilled]) -> None:
    student = train().architecture
    assert np.array_equal(student.embeddings.words, teacher.embeddings.words)
    assert np.array_equal(student.blocks[0].up.weight, teacher.blocks[0].up.weight)
    assert not np.array_equal(student.blocks[1].up.weight, teacher.blocks[3].up.weight)
    own = train(replace(SETTINGS, shared=0), key="own").architecture
    assert not np.array_equal(own.blocks[0].up.weight, teacher.blocks[0].up.weight)


def test_an_interrupted_training_ends_where_one_without_a_break_ends(
    train: Callable[..., Distilled], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = student_file.to_bytes(train(key="whole").architecture)
    assert student_file.to_bytes(train(key="again").architecture) == whole

    class Stop:
        """Asks to stop at the eighth step."""

        def __init__(self) -> None:
            self.asked = 0

        def __enter__(self) -> "Stop":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        @property
        def requested(self) -> bool:
            self.asked += 1
            return self.asked > 14

    with monkeypatch.context() as patch:
        patch.setattr(distillation, "StopOnSignal", Stop)
        with pytest.raises(TrainingInterrupted, match=r"stopped after step \d+ of 18; its state is saved"):
            train()
    resumed = train()
    assert 0 < resumed.resumed_from_step < 18
    assert student_file.to_bytes(resumed.architecture) == whole
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "StopOnSignal", Stop)
        with pytest.raises(TrainingInterrupted):
            train(key="other")
    assert train().resumed_from_step == 0  # the state is of another training
    assert train().resumed_from_step == 18  # of this one, which has ended
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    assert student_file.to_bytes(train().architecture) == whole


def test_a_loss_that_is_no_number_is_an_error_in_words(train: Callable[..., Distilled]) -> None:
    with pytest.raises(ExportError, match=r"its loss is (nan|inf).*--set distill.learning_rate=0.2"):
        train(replace(SETTINGS, learning_rate=0.9, epochs=40.0, max_steps=3), broken=True)


def test_a_student_is_stored_without_its_teachers_embeddings(
    teacher: Architecture, train: Callable[..., Distilled], tmp_path: Path
) -> None:
    student = train().architecture
    path = tmp_path / student_file.FILE
    path.write_bytes(student_file.to_bytes(student))
    assert path.stat().st_size < teacher.embeddings.words.nbytes + 4 * sum(
        block.up.weight.size * 4 for block in student.blocks
    )
    texts = tiny_models.texts([4, 9])
    assert np.array_equal(answers(student_file.read(path, teacher), texts), answers(student, texts))


@pytest.mark.parametrize("content", [b"", b"no safetensors", student_file.FILE.encode() * 100])
def test_a_file_that_is_no_student_is_refused(teacher: Architecture, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / student_file.FILE
    path.write_bytes(content)
    with pytest.raises(ExportError, match="is no student of this model"):
        student_file.read(path, teacher)
