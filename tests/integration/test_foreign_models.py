"""Models as other people have them: each kind of folder with its exact outcome, and not a byte of it changed.

What is refused is refused before the data is read: exit code 1, and words that say what it is and what to do.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_files import read_csv, write_csv

from sentopt import Classifier, api, cli, recipe
from sentopt.data import store
from sentopt.pipeline import Pipeline
from sentopt.runtime.tokenization import TextEncoder
from sentopt.stages import string_input

Change = Callable[[Path], None]
NAMES = {"0": "negative", "1": "neutral", "2": "positive"}
FAST = (
    "verify.margin=20",
    "bench.rounds=1",
    "bench.texts=3",
    "bench.throughput_texts=10",
    "bench.grid=[[1, 8]]",
    "verify.cpu_texts=0",
    "export.variants=['lean-fp32']",
)
SETTINGS = [argument for key in FAST for argument in ("--set", key)]


@pytest.fixture
def tuned(finished_run: Path, tmp_path: Path) -> Path:
    """A checkpoint as somebody else may have saved it."""
    return shutil.copytree(finished_run / "checkpoint", tmp_path / "tuned")


def export(model: Path, data: Path, run_dir: Path, *extra: str) -> int:
    return cli.main(
        ["export", "--model", str(model), "--data", str(data), "--run-dir", str(run_dir), *SETTINGS, *extra]
    )


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    document = {**json.loads(path.read_text()), **changes} if path.is_file() else changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def config(**changes: Any) -> Change:
    return lambda folder: edit(folder / "config.json", **changes)


def tokenizer_config(**changes: Any) -> Change:
    return lambda folder: edit(folder / "tokenizer_config.json", **changes)


def tokenizer(**changes: Any) -> Change:
    return lambda folder: edit(folder / "tokenizer.json", **changes)


def both(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def without(*names: str) -> Change:
    return both(*(lambda folder, name=name: (folder / name).unlink(missing_ok=True) for name in names))  # type: ignore[misc]


def having(name: str, content: bytes = b"x") -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return change


def weights(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    def changed(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = change(load_file(folder / "model.safetensors"))
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


def outputs(*rows: int) -> Change:
    """The head with these of its outputs, and without names for them."""

    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        kept = {n: tensors[n][list(rows)].copy() for n in ("classifier.weight", "classifier.bias")}
        return {**tensors, **kept}

    return both(weights(change), config(id2label=None, label2id=None, num_labels=None))


def cut_off(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def below(*parts: str) -> Change:
    """Move all files into a folder below."""

    def change(folder: Path) -> None:
        files = list(folder.iterdir())
        target = folder.joinpath(*parts)
        target.mkdir(parents=True)
        for file in files:
            shutil.move(file, target / file.name)

    return change


def sharded(folder: Path, *, shards: str = "") -> None:
    """The weights in two files, below the folder `shards` if that is given."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{shards}model-{i:05}-of-00002.safetensors"
        (folder / file).parent.mkdir(exist_ok=True)
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    document = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))


def architecture(name: str) -> Change:
    return config(architectures=[name])


def more_tokens(folder: Path) -> None:
    """Two tokens are added, and the embedding is not resized."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder)
    made.add_tokens(["<laughs>", "<shouts>"])
    made.save_pretrained(folder)


def end_of_type_1(folder: Path) -> None:
    """The token at the end of a text has a type of its own."""
    from tokenizers import Tokenizer, processors

    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(folder / "tokenizer.json"))


ADAPTER = json.dumps({"base_model_name_or_path": "owner/base", "peft_type": "LORA"}).encode()
PICKLE = both(without("model.safetensors"), having("pytorch_model.bin"))
UNNAMED = config(id2label=None, label2id=None)
REFUSED: dict[str, tuple[Change, str]] = {
    # heads
    "multi-label": (
        config(problem_type="multi_label_classification"),
        "is a multi-label classifier (config.json says problem_type 'multi_label_classification'): it gives a text any",
    ),
    "regression": (
        config(problem_type="regression"),
        "is a regression model (config.json says problem_type 'regression'): it returns a number",
    ),
    "one label by name": (config(id2label={"0": "score"}), "has a single output: it is a regression model"),
    "one label by number": (both(UNNAMED, config(num_labels=1)), "has a single output: it is a regression model"),
    "one output by weights": (outputs(0), "has a single output: it is a regression model"),
    "sigmoid": (
        config(function_to_apply="sigmoid"),
        "does not use softmax (config.json says function_to_apply 'sigmoid')",
    ),
    "unknown problem": (config(problem_type="ranking"), "problem_type 'ranking' is unknown to sentopt"),
    # names
    "gaps in the names": (
        config(id2label={"0": "negative", "1": "neutral", "5": "positive"}),
        "the keys of id2label are 0, 1, 5, expected 0 to 2 without gaps",
    ),
    "names by word": (
        config(id2label={"a": "negative", "b": "neutral", "c": "positive"}),
        "the keys of id2label are a, b, c, expected the numbers 0, 1, ...",
    ),
    "names in a list": (
        config(id2label=["negative", "neutral", "positive"]),
        """id2label is ['negative', 'neutral', 'positive'], expected an object such as {"0": "negative", ...}""",
    ),
    "the same name twice": (
        config(id2label={"0": "pos", "1": "neutral", "2": "pos"}),
        "id2label has the name 'pos' 2 times (pos, neutral, pos). Give each output a name of its own",
    ),
    "fewer names than outputs": (
        config(id2label={"0": "negative", "1": "positive"}),
        "names 2 labels (negative, positive), but the classification head has 3 outputs",
    ),
    "an empty name": (config(id2label={**NAMES, "1": " "}), "id2label has no name for 1"),
    "one number for two labels": (
        config(id2label=None, label2id={"negative": 0, "neutral": 1, "positive": 1}),
        "label2id gives two labels the same number",
    ),
    "a count in words": (both(UNNAMED, config(num_labels="three")), "num_labels is 'three'"),
    # tokenizers
    "tokens without rows": (
        more_tokens,
        "the tokenizer has 602 tokens (the last is '<shouts>'), the model's embedding 600 rows",
    ),
    "no tokenizer": (
        without("tokenizer.json", "vocab.txt"),
        "holds no tokenizer (tokenizer.json or a vocabulary)",
    ),
    "a damaged tokenizer": (having("tokenizer.json", b"{}"), "holds no tokenizer that transformers can load"),
    "a Python tokenizer": (
        both(
            without("tokenizer.json"),
            having("vocab.json", b'{"a": 0, "<unk>": 1}'),
            having("merges.txt", b"#version: 0.2\n"),
            tokenizer_config(tokenizer_class="CTRLTokenizer", unk_token="<unk>"),
        ),
        "tokenizer.json",
    ),
    "code of its own for tokens": (
        tokenizer_config(auto_map={"AutoTokenizer": ["mine.Tokenizer", None]}),
        "needs Python code that comes with it (auto_map in tokenizer_config.json)",
    ),
    "cut in the middle": (tokenizer_config(truncation_side="middle"), "holds no tokenizer that transformers can load"),
    "special tokens are text": (
        tokenizer_config(split_special_tokens=True),
        "the tokenizer of {model} does something that the runtime does not: with transformers,",
    ),
    "types of tokens": (
        end_of_type_1,
        "gives tokens of a single text another type than 0 (post_processor in its tokenizer.json)",
    ),
    "pads with no token": (config(pad_token_id=5000), "the model pads with id 5000, which its tokenizer does not have"),
    # weights
    "pickle": (
        PICKLE,
        "holds its weights in PyTorch's pickle format, which can run code when it is read, only: pytorch_model.bin. "
        "Convert them to safetensors",
    ),
    "TensorFlow": (
        both(without("model.safetensors"), having("tf_model.h5")),
        "holds its weights in TensorFlow's format only: tf_model.h5. Convert them to safetensors (with transformers 4)",
    ),
    "Flax": (
        both(without("model.safetensors"), having("flax_model.msgpack")),
        "holds its weights in Flax's format only: flax_model.msgpack. Convert them to safetensors (with transformers "
        "4), if you trust the file",
    ),
    "GGUF": (
        both(without("model.safetensors"), having("model-q4.gguf")),
        "holds its weights as GGUF, the format of llama.cpp, only: model-q4.gguf",
    ),
    "ONNX only": (
        both(without("model.safetensors"), having("onnx/model.onnx")),
        "holds its weights as ONNX, which leaves no PyTorch model to verify against, only: onnx/model.onnx",
    ),
    "no weights": (without("model.safetensors"), "has a config.json but no weights: model.safetensors is missing"),
    "weights of another name": (
        lambda folder: (folder / "model.safetensors").rename(folder / "model.fp16.safetensors") and None,
        "holds no model.safetensors, only model.fp16.safetensors; the file must have that name",
    ),
    "half of the weights": (cut_off, "model.safetensors is damaged or not a safetensors file (it has"),
    "other bytes": (having("model.safetensors", b"\x80\x02}q\x00." * 40), "is damaged or not a safetensors file"),
    "an empty file": (having("model.safetensors", b""), "is damaged or not a safetensors file (its header is cut off)"),
    "a pointer of Git LFS": (
        having("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 90\n"),
        "is a pointer of Git LFS and not the weights themselves: fetch them with `git lfs pull`",
    ),
    "a shard is missing": (
        both(sharded, without("model-00002-of-00002.safetensors")),
        "names 2 files, and model-00002-of-00002.safetensors is missing. Copy the folder again",
    ),
    "a shard outside": (
        both(sharded, having("model.safetensors.index.json", b'{"weight_map": {"a": "../other.safetensors"}}')),
        "'../other.safetensors' lies outside the folder",
    ),
    "an index without a map": (
        both(sharded, having("model.safetensors.index.json", b'{"metadata": {}}')),
        "has no weight_map, expected an object from weight names to files",
    ),
    "weights that are not merged": (
        weights(lambda tensors: {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}),
        "holds weights of PEFT that are not merged (their names begin with 'base_model.model.')",
    ),
    "a wrapped model": (
        weights(lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()}),
        "holds weights of a DataParallel wrapper (their names begin with 'module.'): save model.module instead",
    ),
    "no head": (
        weights(lambda tensors: {name: t for name, t in tensors.items() if "classifier" not in name}),
        "is a backbone, not a tuned classifier: it has no weights classifier.bias, classifier.weight",
    ),
    "a layer of another size": (
        config(intermediate_size=96),
        "its weights do not fit its config.json: bert.encoder.layer.0.intermediate.dense.bias has shape (64,), "
        "expected (96,)",
    ),
    # other models
    "adapter": (
        having("adapter_config.json", ADAPTER),
        "is a PEFT adapter of owner/base, not a whole model. Merge it first",
    ),
    "T5": (config(model_type="t5", is_encoder_decoder=True), "is an encoder-decoder (t5)"),
    "BART": (config(model_type="bart"), "is an encoder-decoder (bart)"),
    "causal language model": (
        architecture("GPT2LMHeadModel"),
        "is a language model that writes text (GPT2LMHeadModel). Tune it with `sentopt train --model",
    ),
    "another causal language model": (
        architecture("LlamaForCausalLM"),
        "is a language model that writes text (LlamaForCausalLM)",
    ),
    "masked language model": (
        architecture("BertForMaskedLM"),
        "is a masked language model, not a fine-tuned classifier (BertForMaskedLM)",
    ),
    "token classifier": (
        architecture("BertForTokenClassification"),
        "is a token classifier, which labels words and not texts (BertForTokenClassification)",
    ),
    "question answering": (
        architecture("BertForQuestionAnswering"),
        "is a model for question answering (BertForQuestionAnswering)",
    ),
    "encoder": (architecture("BertModel"), "is a backbone, not a fine-tuned classifier (BertModel)"),
    "sentence-transformers": (
        both(architecture("BertModel"), having("modules.json", b"[]")),
        "is a sentence-transformers model, which gives embeddings: a backbone, not a fine-tuned classifier (BertModel)",
    ),
    "image classifier": (
        architecture("ViTForImageClassification"),
        "is not a classifier of texts (ViTForImageClassification). Give the folder of a model",
    ),
    "code of its own": (
        config(auto_map={"AutoModelForSequenceClassification": "mine.Model"}),
        "needs Python code that comes with it (auto_map in config.json), and sentopt runs no code of a model",
    ),
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "is quantized already (bitsandbytes, quantization_config in config.json)",
    ),
    "GPTQ": (config(quantization_config={"quant_method": "gptq", "bits": 4}), "is quantized already (gptq,"),
    "a kind nobody knows": (config(model_type="novel"), "that transformers can load"),
    "no kind": (config(model_type=None), "has no model_type, which names the architecture"),
    "settings that are not JSON": (having("config.json", b"model: bert"), "cannot be read as JSON"),
    "settings in a list": (having("config.json", b"[]"), "holds list, expected a JSON object of settings"),
    # folders
    "Trainer's folder": (
        both(below("checkpoint-500"), having("checkpoint-9/config.json", b'{"model_type": "bert"}')),
        "is the output folder of a Trainer: it holds no model itself, but 2 checkpoints. Give the last one: "
        "--model {model}/checkpoint-500",
    ),
    "Trainer's folder with the best": (
        both(
            below("checkpoint-500"),
            having("checkpoint-9/config.json", b'{"model_type": "bert"}'),
            having("checkpoint-500/trainer_state.json", b'{"best_model_checkpoint": "/elsewhere/out/checkpoint-9"}'),
        ),
        "Give the best one: --model {model}/checkpoint-9",
    ),
    "old sentence-transformers": (
        both(below("0_Transformer"), having("modules.json", b"[]")),
        "is a sentence-transformers folder that holds no config.json itself. Give a folder below it: "
        "{model}/0_Transformer",
    ),
    "the hub's cache": (below("snapshots", "abc"), "holds no config.json itself. Give a folder below it: {model}/snap"),
    "adapter alone": (
        both(
            without("config.json", "model.safetensors"),
            having("adapter_config.json", ADAPTER),
            having("adapter_model.safetensors"),
        ),
        "{model} is a PEFT adapter, and its base model cannot be used: there is no folder owner/base",
    ),
    "an empty folder": (
        lambda folder: shutil.rmtree(folder) or folder.mkdir(),
        "holds no config.json: it has no files",
    ),
    "weights without settings": (without("config.json"), "holds no config.json, only model.safetensors, "),
    "SetFit": (both(without("config.json"), having("model_head.pkl")), "is a SetFit model, whose head is a pickle"),
    "a bundle": (
        both(without("config.json"), having("sentopt.json", b"{}")),
        "is already a bundle of sentopt; give the model that it was made from",
    ),
    "a run directory": (
        both(below("checkpoint"), having("run.json", b"{}")),
        "is a run directory of sentopt; its model: --model {model}/checkpoint",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_in_words(
    case: str, tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, expected = REFUSED[case]
    change(tuned)
    before = content(tuned)
    assert export(tuned, reviews, tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert expected.replace("{model}", str(tuned)) in error
    assert error.splitlines()[-1].strip() != ""
    assert "Traceback" not in error
    assert content(tuned) == before
    assert not (tmp_path / "run" / "bundle").exists()


def content(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_is_no_folder(tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tuned / "model.safetensors"
    assert export(file, reviews, tmp_path / "run") == 1
    assert f"{file} is a file; give its folder: --model {tuned}." in capsys.readouterr().err
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    assert export(gguf, reviews, tmp_path / "run") == 1
    assert f"{gguf} is a file; give the folder of a model." in capsys.readouterr().err


def test_the_lines_that_convert_a_pickle_do(
    tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice is what works: it is run as it stands."""
    import torch
    from safetensors.torch import load_file

    before = load_file(tuned / "model.safetensors")
    torch.save(before, tuned / "pytorch_model.bin")
    (tuned / "model.safetensors").unlink()
    assert export(tuned, reviews, tmp_path / "run") == 1
    run_lines(capsys.readouterr().err, tmp_path)
    after = load_file(tmp_path / "converted" / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert export(tmp_path / "converted", reviews, tmp_path / "run") == 0


def test_the_lines_that_resize_an_embedding_do(
    tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more_tokens(tuned)
    assert export(tuned, reviews, tmp_path / "run") == 1
    run_lines(capsys.readouterr().err, tmp_path)
    assert export(tmp_path / "resized", reviews, tmp_path / "run") == 0


def run_lines(message: str, folder: Path) -> None:
    """Run the indented lines of a message as Python, in a folder."""
    import os

    before = Path.cwd()
    os.chdir(folder)
    try:
        exec("\n".join(line.strip() for line in message.splitlines() if line.startswith("  ")), {})
    finally:
        os.chdir(before)


def two_labels(folder: Path) -> None:
    """As transformers saves a classifier of two labels whose names are LABEL_0 and LABEL_1: without any."""
    outputs(0, 2)(folder)


def tokens_with_rows(folder: Path) -> None:
    """Added tokens of every kind, and rows for them."""
    from tokenizers import AddedToken
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder)
    made.add_tokens([AddedToken("<laughs>", lstrip=True), AddedToken("meh", single_word=True, normalized=True)])
    made.add_special_tokens({"additional_special_tokens": [AddedToken("<USER>", rstrip=True, special=True)]})
    made.save_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.resize_token_embeddings(len(made))
    model.save_pretrained(folder)


def without_tokenizer_json(folder: Path) -> None:
    """The files of a slow tokenizer, from which the fast one is made."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    (folder / "tokenizer.json").unlink()
    edit(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=True)


def halved(folder: Path) -> None:
    weights(lambda tensors: {name: tensor.astype(np.float16) for name, tensor in tensors.items()})(folder)


THREE = ("negative", "neutral", "positive")
ACCEPTED: dict[str, tuple[Change, int, str]] = {
    "names in any order": (config(id2label={"2": "positive", "0": "negative", "1": "neutral"}), 48, "right"),
    "names from label2id": (config(id2label=None, label2id={"positive": 2, "negative": 0, "neutral": 1}), 48, "right"),
    "names in capitals": (config(id2label={"0": "NEGATIVE", "1": " Neutral ", "2": "POSITIVE"}), 48, "right"),
    "no names, three outputs": (both(UNNAMED, config(num_labels=None)), 48, "right"),
    "no architecture": (config(architectures=None), 48, "right"),
    "cut on the left": (tokenizer_config(truncation_side="left"), 48, "left"),
    "cut on the left by tokenizer.json": (
        tokenizer(
            truncation={"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
            padding={
                "strategy": {"Fixed": 12},
                "direction": "Left",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
        ),
        48,
        "left",
    ),
    "padded on the left": (tokenizer_config(padding_side="left"), 48, "right"),
    "no maximum": (tokenizer_config(model_max_length=10**30), 64, "right"),
    "no maximum, as a float": (tokenizer_config(model_max_length=1e30), 64, "right"),
    "a maximum of 16": (tokenizer_config(model_max_length=16), 16, "right"),
    "upper case kept": (tokenizer_config(do_lower_case=False, tokenizer_class="BertTokenizer"), 48, "right"),
    "another tokenizer class": (tokenizer_config(tokenizer_class="BertTokenizerFast", do_lower_case=True), 48, "right"),
    "added tokens": (tokens_with_rows, 48, "right"),
    "a slow tokenizer's files": (without_tokenizer_json, 48, "right"),
    "in shards": (sharded, 48, "right"),
    "in shards below": (lambda folder: sharded(folder, shards="parts/"), 48, "right"),
    "16 bits": (halved, 48, "right"),
    "with a pickle beside": (having("pytorch_model.bin"), 48, "right"),
    "with training's files": (
        both(having("training_args.bin"), having("checkpoint-5/config.json", b"{}")),
        48,
        "right",
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_answers_as_transformers_does_with_the_same_folder(
    case: str, tuned: Path, reviews: Path, tmp_path: Path
) -> None:
    change, longest, side = ACCEPTED[case]
    change(tuned)
    before = content(tuned)
    classifier = exported(tuned, reviews, tmp_path / "run")
    assert content(tuned) == before
    assert classifier.labels == THREE
    texts = [
        *(row["text"] for row in read_csv(reviews / "test.csv")[:5]),
        "terrible " * 60 + "great " * 60,
        "great " * 60 + "terrible " * 60,
        "a meh day <laughs> GREAT <USER> Great day, mehmeh<laughs>",
        "",
    ]
    expected = probabilities(tuned, texts, classifier.encoder.max_length)
    assert classifier.predict_proba(texts) == pytest.approx(expected, abs=1e-4)
    assert (classifier.encoder.max_length, classifier.encoder.side) == (longest, side)


def exported(model: Path, data: Path, run_dir: Path, *extra: str) -> Classifier:
    """What `sentopt export` verifies: the lean graph, behind the tokenizer that was saved."""
    overrides = recipe.parse_settings([*SETTINGS, *extra][1::2])
    run = api.runs.take_over(model, data, run_dir=run_dir, overrides=overrides)
    Pipeline(run.recipe, run.run_dir).export()
    encoder = TextEncoder.load(run_dir / "checkpoint", max_length=run.recipe.model.max_length)
    labels = store.read_labels(run.run_dir)
    return Classifier.open(run_dir / "variants" / "lean-fp32" / "model.onnx", encoder, labels)


@pytest.fixture
def exported_left_bundle(tuned: Path, reviews: Path, tmp_path: Path) -> Path:
    """The bundle of a model that reads the end of a long text."""
    edit(tuned / "tokenizer_config.json", truncation_side="left")
    assert export(tuned, reviews, tmp_path / "run", "--string-input") == 0
    return tmp_path / "run" / "bundle"


def test_a_bundle_that_cuts_on_the_left_is_whole(exported_left_bundle: Path, tuned: Path) -> None:
    facts = json.loads((exported_left_bundle / "sentopt.json").read_text())
    assert (facts["truncation_side"], facts["schema_version"], facts["max_length"]) == ("left", 2, 48)
    classifier = Classifier.load(exported_left_bundle, check=True)
    texts = ["terrible " * 60 + "great " * 60, "great " * 60 + "terrible " * 60, "a great day"]
    answers = classifier.predict(texts)
    assert [(a.label, a.truncated) for a in answers] == [("positive", True), ("negative", True), ("positive", False)]
    assert classifier.predict_proba(texts) == pytest.approx(probabilities(tuned, texts, 48), abs=1e-4)
    by_graph = string_input.open_session((exported_left_bundle / string_input.FILE).read_bytes()).run(
        ["probabilities"], {"texts": np.array(texts, dtype=object)}
    )
    assert by_graph[0] == pytest.approx(classifier.predict_proba(texts), abs=1e-5)


def probabilities(folder: Path, texts: list[str], longest: int) -> Any:
    """What transformers answers, one text at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, num_labels=3).eval()
    rows = []
    for text in texts:
        inputs = made(text, truncation=True, max_length=longest, return_tensors="pt")
        with torch.inference_mode():
            rows.append(model(**inputs).logits.softmax(-1)[0].numpy())
    return np.array(rows)


@pytest.fixture
def two(reviews: Path, tmp_path: Path) -> Path:
    """Texts of two labels only."""
    return relabelled(reviews, tmp_path / "two", {"negative": "negative", "positive": "positive"})


def relabelled(reviews: Path, folder: Path, names: dict[str, str]) -> Path:
    folder.mkdir()
    for split in ("train", "validation", "test"):
        rows = [(r["text"], names[r["label"]]) for r in read_csv(reviews / f"{split}.csv") if r["label"] in names]
        write_csv(folder / f"{split}.csv", rows)
    return folder


def test_two_labels_have_no_names_in_the_file(
    tuned: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_labels(tuned)
    assert export(tuned, two, tmp_path / "run") == 0
    assert (
        "it is assumed that LABEL_0 is negative, LABEL_1 is positive. For another order of the model's outputs: "
        """--set 'data.labels=["positive","negative"]'"""
    ) in capsys.readouterr().err
    assert Classifier.load(tmp_path / "run" / "bundle")("a great great day").label == "positive"


@pytest.mark.parametrize(
    ("names", "change", "expected"),
    [
        pytest.param(
            {"negative": "negative", "positive": "positive"},
            config(id2label={str(i): f"LABEL_{i}" for i in range(3)}),
            "the model has 3 outputs without names, the data has 2 labels: negative, positive. Name them all in the "
            """order of the model's outputs, for example with --set 'data.labels=["negative","positive","name 2"]'""",
            id="fewer than outputs",
        ),
        pytest.param(
            {"negative": "0", "neutral": "1", "positive": "2"},
            config(),
            "the labels of the data are numbers (0, 1, 2), the model knows negative, neutral, positive. Where the "
            """numbers count the model's outputs from 0, say so with --set """
            """'data.labels=["negative","neutral","positive"]'""",
            id="numbers",
        ),
        pytest.param(
            {"negative": "negativ", "neutral": "neutral", "positive": "positive"},
            config(),
            "the data has the label(s) negativ, the model knows negative, neutral, positive: 'negativ' (did you mean "
            "'negative'?)",
            id="a typo",
        ),
    ],
)
def test_labels_that_do_not_match_are_told_with_the_command(
    names: dict[str, str],
    change: Change,
    expected: str,
    tuned: Path,
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(tuned)
    assert export(tuned, relabelled(reviews, tmp_path / "data", names), tmp_path / "run") == 1
    assert expected in capsys.readouterr().err


def test_numbers_are_named_by_the_command(tuned: Path, reviews: Path, tmp_path: Path) -> None:
    data = relabelled(reviews, tmp_path / "data", {"negative": "0", "neutral": "1", "positive": "2"})
    named = ["--set", 'data.labels=["negative","neutral","positive"]']
    assert export(tuned, data, tmp_path / "run", *named) == 0
    assert Classifier.load(tmp_path / "run" / "bundle")("a great great day").label == "positive"


@pytest.mark.parametrize(
    ("change", "given"),
    [(config(), []), (UNNAMED, ["--set", 'data.labels=["negative","neutral","positive"]'])],
    ids=["by name", "named in the order of the outputs"],
)
def test_data_may_lack_a_label_of_the_model(
    change: Change, given: list[str], tuned: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(tuned)
    classifier = exported(tuned, two, tmp_path / "run", *given)
    assert classifier.labels == THREE
    assert classifier("a great great day").label == "positive"


# Models that training starts from


def train(model: Path, data: Path, run_dir: Path, *extra: str) -> int:
    fast = ("train.max_steps=2", "train.precision=fp32", "train.batch_size=8", "train.calibrate=false")
    settings = [argument for key in fast for argument in ("--set", key)]
    return cli.main(["train", "--model", str(model), "--data", str(data), "--run-dir", str(run_dir), *settings, *extra])


@pytest.mark.parametrize(
    "case", ["adapter", "pickle", "T5", "tokens without rows", "a layer of another size", "no kind"]
)
def test_is_no_backbone_either(
    case: str, tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, expected = REFUSED[case]
    change(tuned)
    before = content(tuned)
    assert train(tuned, reviews, tmp_path / "run") == 1
    assert expected.replace("{model}", str(tuned)) in capsys.readouterr().err
    assert content(tuned) == before


def test_a_backbone_without_its_weights_is_not_trained_from_random_ones(
    tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights(lambda tensors: {name.replace("layer.1.", "layer.7."): tensor for name, tensor in tensors.items()})(tuned)
    assert train(tuned, reviews, tmp_path / "run") == 1
    assert (
        "lacks 16 of 39 weights of BertForSequenceClassification, for example bert.encoder.layer.1."
        in capsys.readouterr().err
    )


HEADS: dict[str, tuple[Change, bool]] = {
    "the same labels": (config(), True),
    "labels without names": (UNNAMED, True),
    "other labels": (config(id2label={"0": "entailment", "1": "neutral", "2": "contradiction"}), False),
    "the labels in another order": (config(id2label={"0": "positive", "1": "neutral", "2": "negative"}), False),
    "several labels at a time": (config(problem_type="multi_label_classification"), False),
    "a number": (config(problem_type="regression"), False),
    "one output without a name": (config(id2label={"0": "LABEL_0"}, problem_type=None), False),
    "labels of words": (architecture("BertForTokenClassification"), False),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_answers_something_else_is_drawn_anew(case: str, tuned: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from sentopt.recipe import TrainSection
    from sentopt.training import checkpoints

    change, kept = HEADS[case]
    change(tuned)
    theirs = load_file(tuned / "model.safetensors")
    made = checkpoints.load_untuned(tuned, THREE, checkpoints.load_tokenizer(tuned, 48), TrainSection()).state_dict()
    assert torch.equal(made["classifier.weight"], theirs["classifier.weight"]) is kept
    assert all(torch.equal(made[name], theirs[name]) for name in theirs if name.startswith("bert."))
    assert float(made["classifier.weight"].std()) > 0


def test_texts_are_cut_where_the_backbone_ends(
    backbone: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default of 128 tokens, and 64 positions: in training, the recipe, the benchmark's grid and the bundle."""
    run_dir = tmp_path / "run"
    assert train(backbone, reviews, run_dir, "--set", "export.variants=['torch', 'lean-fp32']") == 0
    assert f"note: texts are cut at 64 tokens, not at 128: {backbone} reads no more" in capsys.readouterr().err
    assert "max_length = 64\n" in (run_dir / "recipe.toml").read_text()
    grid = ["--set", "bench.grid=[[1, 16], [2, 128], [2, 64]]", "--set", "bench.rounds=1", "--set", "bench.texts=3"]
    loose = [
        "--set",
        "verify.allow_weak_reference=true",
        "--set",
        "verify.cpu_texts=0",
        "--set",
        "bench.throughput_texts=8",
    ]
    assert cli.main(["bench", "--run-dir", str(run_dir), *grid, *loose]) == 0
    assert set(json.loads((run_dir / "bench-samples.json").read_text())["grid"]) == {"1x16", "2x64"}


def test_asking_for_more_than_a_tuned_model_reads_is_cut_too(
    tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tuned, reviews, tmp_path / "run", "--set", "model.max_length=512") == 0
    assert "note: texts are cut at 48 tokens, not at 512:" in capsys.readouterr().err
    assert Classifier.load(tmp_path / "run" / "bundle").encoder.max_length == 48


OTHER_FAMILIES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "XLNet": (
        {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
        ("answers a text otherwise when it is padded to the length of another one",),
    ),
    "FNet": (
        {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "max_position_embeddings": 48},
        # It takes no attention mask with transformers 4, and ignores it with transformers 5.
        ("cannot answer a text of token ids: TypeError", "answers a text otherwise when it is padded"),
    ),
}


@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_a_model_whose_answers_depend_on_padding_is_refused(
    family: str, tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    import transformers

    settings, outcomes = OTHER_FAMILIES[family]
    torch.manual_seed(0)
    names = {"id2label": {int(i): name for i, name in NAMES.items()}}
    made = getattr(transformers, f"{family}Config")(vocab_size=600, num_labels=3, pad_token_id=0, **settings, **names)
    getattr(transformers, f"{family}ForSequenceClassification")(made).save_pretrained(tuned)
    assert export(tuned, reviews, tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert any(f"({family}ForSequenceClassification) {outcome}" in error for outcome in outcomes)


def test_a_model_that_answers_no_numbers_is_told_so(
    tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(tuned / "model.safetensors")
    weights["classifier.bias"] = np.array([np.nan, 0, 0], dtype=np.float32)
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    assert export(tuned, reviews, tmp_path / "run") == 1
    assert "answers texts with numbers that are not finite: its weights are damaged" in capsys.readouterr().err
