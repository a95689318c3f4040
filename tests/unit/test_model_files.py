"""How many tokens a model reads, held to the models themselves; what identifies a folder; how labels are matched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

from sentopt import backbones, model_files
from sentopt.data.splits import CleanData, Example
from sentopt.errors import BackboneError, DataError
from sentopt.stages import prepare

MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "camembert": ("Camembert", {**tiny_models.BERT_LIKE, "pad_token_id": 1}),
    "roberta-prelayernorm": ("RobertaPreLayerNorm", {**tiny_models.BERT_LIKE, "pad_token_id": 1}),
    "data2vec-text": ("Data2VecText", {**tiny_models.BERT_LIKE, "pad_token_id": 1}),
    "xlm-roberta-xl": ("XLMRobertaXL", {**tiny_models.BERT_LIKE, "pad_token_id": 1}),
    "roberta-padded-with-0": ("Roberta", {**tiny_models.BERT_LIKE, "pad_token_id": 0}),
}
AFTER_PADDING = {*MORE, "roberta", "xlm-roberta", "mpnet"}
UNBOUNDED = {"deberta-v2", "modernbert"}  # relative positions: more would work, but the model was made for so many
FAMILIES = [*tiny_models.FAMILIES, *tiny_models.TRACED, *MORE]


def built(family: str) -> Any:
    import transformers

    if family not in MORE:
        return tiny_models.build(family)
    name, settings = MORE[family]
    return getattr(transformers, f"{name}ForSequenceClassification")(
        getattr(transformers, f"{name}Config")(**settings)
    ).eval()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_reads_as_many_tokens_as_its_files_say_and_no_more(family: str, tmp_path: Path) -> None:
    model = built(family)
    model.config.save_pretrained(tmp_path)
    limit = model_files.length_limit(tmp_path)
    lost = {"roberta-padded-with-0": 1}.get(family, 2) if family in AFTER_PADDING else 0
    assert limit == tiny_models.POSITIONS - lost

    def read(tokens: int) -> torch.Tensor:
        ids = torch.tensor([tiny_models.texts([tokens])[0]])
        with torch.inference_mode():
            logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return logits

    assert read(limit).isfinite().all()
    if family not in UNBOUNDED:
        with pytest.raises((IndexError, RuntimeError)):
            read(limit + 1)


@pytest.mark.parametrize(
    ("config", "tokenizer", "expected"),
    [
        ({}, {}, None),
        ({"max_position_embeddings": 512}, {"model_max_length": 1e30}, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": 1000000000000000019884624838656}, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": 256.0}, 256),
        ({"max_position_embeddings": 512}, {"model_max_length": None}, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": True}, 512),
        ({"max_position_embeddings": 32768}, {}, None),
        ({"max_position_embeddings": -1}, {"model_max_length": 512}, 512),
        ({"model_type": "xlnet"}, {}, None),
        ({"model_type": "roberta", "max_position_embeddings": 258, "pad_token_id": 1}, {}, 256),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}, {}, 512),
    ],
)
def test_limits_as_files_state_them(
    config: dict[str, Any], tokenizer: dict[str, Any], expected: int | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert model_files.length_limit(tmp_path) == expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose weights an index says to be in a folder below, with a tokenizer of SentencePiece."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "one.safetensors").write_bytes(b"weights")
    index = {"weight_map": {"a": "shards/one.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        (tmp_path / name).write_text("{}")
    for name in ("vocab.txt", "merges.txt", "spiece.model", "chat_template.jinja", "qwen.tiktoken"):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("shards/one.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"),
        *("tokenizer_config.json", "added_tokens.json", "vocab.txt", "merges.txt", "spiece.model", "qwen.tiktoken"),
        "chat_template.jinja",
    ],
)
def test_every_file_that_answers_depend_on_identifies_a_model(folder: Path, name: str) -> None:
    before = backbones.identify(str(folder))
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    changed = backbones.identify(str(folder))
    assert changed != before
    (folder / name).unlink()
    assert name == "config.json" or backbones.identify(str(folder)) not in (before, changed)


def test_a_file_under_another_name_is_another_model(folder: Path) -> None:
    before = backbones.identify(str(folder))
    (folder / "vocab.txt").rename(folder / "words.txt")
    assert backbones.identify(str(folder)) != before


def test_what_decides_nothing_is_left_out(folder: Path) -> None:
    before = backbones.identify(str(folder))
    for name in ("README.md", "training_args.bin", "model.onnx", ".gitattributes"):
        (folder / name).write_bytes(b"x")
    assert backbones.identify(str(folder)) == before


def matched(labels: list[str], names: list[str]) -> tuple[tuple[str, ...], list[int], tuple[str, ...]]:
    """The labels, the numbers of one text of each of the data's labels, and the notices."""
    examples = [Example(label, i) for i, label in enumerate(labels)]
    data = CleanData({"train": examples, "validation": examples, "test": examples}, tuple(labels), ("before",))
    found = prepare.in_order_of_model(data, names)
    assert found.notices[0] == "before"
    assert found.splits["train"] == found.splits["validation"] == found.splits["test"]
    assert [e.text for e in found.splits["train"]] == labels
    return found.labels, [e.label for e in found.splits["test"]], found.notices[1:]


def test_spellings_of_one_label_are_merged_into_the_models() -> None:
    assert matched(["Negative", "negative", "positive"], ["POSITIVE", "NEGATIVE"]) == (
        ("positive", "NEGATIVE"),
        [1, 1, 0],
        ("the labels 'Negative', 'negative' of the data are the model's 'NEGATIVE'",),
    )
    assert matched(["NEGATIVE ", "negative", "pos"], ["Negative", "pos"])[:2] == (("Negative", "pos"), [0, 0, 1])


def test_names_that_differ_in_case_alone_are_matched_exactly() -> None:
    assert matched(["POS", "pos"], ["pos", "POS"]) == (("pos", "POS"), [1, 0], ())
    with pytest.raises(DataError, match=r"has the label\(s\) Pos, the model knows pos, POS"):
        matched(["Pos", "pos"], ["pos", "POS"])


def test_labels_that_are_called_label_0_are_names_too() -> None:
    assert matched(["LABEL_2", "label_0"], ["LABEL_0", "LABEL_1", "LABEL_2"]) == (
        ("label_0", "LABEL_1", "LABEL_2"),
        [2, 0],
        (),
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ["LABEL_0", "LABEL_1"]),
        ({"num_labels": 3}, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"id2label": {}}, ["LABEL_0", "LABEL_1"]),
        ({"id2label": None, "label2id": {"b": 1, "a": "0"}}, ["a", "b"]),
        ({"id2label": {"10": "k", **{str(i): chr(97 + i) for i in range(10)}}}, list("abcdefghijk")),
        ({"id2label": {"0": 0, "1": 1}}, ["0", "1"]),
    ],
)
def test_names_of_a_head_that_cannot_be_found(config: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    """Its tensors have names of their own, so that nobody can tell the number of its outputs."""
    write_safetensors(tmp_path / "model.safetensors", {"unusual.weight": [7, 2]})
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_files.label_names(tmp_path) == expected


HEADS: dict[str, list[tuple[str, list[int]]]] = {
    "bert": [("classifier.weight", [4, 8]), ("classifier.bias", [4])],
    "roberta": [("classifier.dense.weight", [8, 8]), ("classifier.out_proj.weight", [4, 8])],
    "gpt2": [("score.weight", [4, 8])],
    "xlnet": [("logits_proj.weight", [4, 8])],
}


@pytest.mark.parametrize("family", HEADS)
def test_outputs_are_counted_in_the_weights(family: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", dict(HEADS[family]))
    (tmp_path / "config.json").write_text("{}")
    assert model_files.label_names(tmp_path) == [f"LABEL_{i}" for i in range(4)]


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    from safetensors.numpy import save_file

    save_file({name: torch.zeros(shape).numpy() for name, shape in shapes.items()}, path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: content[:20],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"[" + content[9:],
        lambda content: b"",
    ],
)
def test_damaged_weights_are_found_in_their_header(harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"classifier.weight": [2, 3]})
    assert model_files.tensor_shapes(tmp_path) == {"classifier.weight": (2, 3)}
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(BackboneError, match="is damaged or not a safetensors file"):
        model_files.tensor_shapes(tmp_path)


@pytest.mark.parametrize(
    ("architectures", "expected"),
    [
        (["BertForSequenceClassification"], "AutoModelForSequenceClassification"),
        (None, "AutoModelForSequenceClassification"),
        (["BertForMaskedLM"], "AutoModel"),
        (["BertModel"], "AutoModel"),
    ],
)
def test_a_backbone_is_converted_without_a_random_head(architectures: Any, expected: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": architectures}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BackboneError) as caught:
        model_files.tensor_shapes(tmp_path)
    assert f"  from transformers import {expected} as Model, AutoTokenizer as Tokenizer\n" in str(caught.value)
