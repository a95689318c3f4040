"""Optional part of stage `bundle`: a graph with string input.

The graph is compared with the bundle's tokenizer on thousands of texts: every assigned Unicode character, random texts
of many scripts, and known difficult texts. If any token differs, the graph is not written. Where a model is given two
texts, each of these is the first text of a pair and the second one of another.
"""

from __future__ import annotations

import json
import os
import random
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from sentopt._optional import require
from sentopt.data import store
from sentopt.errors import ExportError
from sentopt.files import atomic
from sentopt.graph import metadata, tokenizer
from sentopt.results import StringInput
from sentopt.run_dir import RunDir
from sentopt.runtime.batching import batched
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import DESCRIPTION_FILE, BundleDescription, Text, read_description, sha256_file
from sentopt.runtime.session import session_options
from sentopt.runtime.tokenization import TextEncoder

FILE = "onnx/model_string.onnx"
PACKAGE = "onnxruntime-extensions"
RANDOM_TEXTS = 10_000
_BATCH = 32
_TOLERANCE = 1e-5
_SHOWN = 5
_TOKENS_PER_CHARACTER = 8  # maximum for nearly all characters, in the two contexts of `every_character`
HARD_TEXTS = (
    "",
    " ",
    "\t\n\r\u00a0\u2003\u3000",
    "a\0b",
    "\0",
    "\0 \0",
    "control\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x1f\x7f\x80\x85\x9fcharacters",
    "[S\x01EP] [S\0EP] [\u00adSEP] [SEP\ufffd]",
    "caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m A\u030angstro\u0308m \u1e9b\u0323",
    "\u0130stanbul I\u0307 stra\u00dfe STRASSE \u1e9e",
    "a\u0315\u0300\u05ae\u0062 \u0301alone e\u0323\u0302 e\u0302\u0323 \u0344",
    "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3 \u037e \u0387 \u1fef",
    "\u8fd9\u90e8\u7535\u5f71\u592a\u68d2\u4e86 and \u7121\u804a \uf900\ufa0e\U0002f800\U00020000 \u3007\u3005\u30fc",
    "\ucd5c\uace0\uc758 \uc601\ud654\uc600\uc5b4\uc694 \u1112\u1161\u11ab \uac01\u1100\u1161",
    "\u3068\u3066\u3082\u826f\u3044\u6620\u753b\u3002\u304c\u304b\u3099 \uff76\uff9e \uff21\uff22\uff23",
    "\u0641\u064a\u0644\u0645 \u0631\u064e\u0627\u0626\u0650\u0639 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u093c \u0958 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0e33",
    "\u2764\ufe0f \U0001f60d\U0001f60d \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd 1\ufe0f\u20e3",
    "\u200bzero\u200cwidth\u200d\u2060\ufeff soft\u00adhyphen \u202emirrored\u202c \U000e0041",
    "\ufdd0 \uffff \U0001ffff \ue000 \uf8ff \U000f0000 \U0010ffff \u0378",
    "\ufb01ne \u2460 \u00bd \u2126 \u212b \u01c4 \U0001d4d0\U0001d7d8",
    "\U0001d15e \U0001d165\U0001d16d \U0001d16d\U0001d165",
    "\u201cquotes\u201d \u2014 it\u2019s don't rock'n'roll $5.99 100% a&b c/d e\\f ^_^ ~`| \\1 \\0",
    "http://example.com/a?b=c&d=%20e someone@example.com #tag @name",
    "WHY??? sooo goooood!!! :-) [UNUSED1] [unused1] ##ing ing##",
    "pneumono\u2603x hello\u2603 \u2603hello helloq\u0301\u2603",
    "x" * 99 + " " + "x" * 100 + " " + "x" * 101,
    "\u00e9" * 100 + " " + "\u00e9" * 101 + " " + "e\u0301" * 100 + " " + "\uac01" * 40,
    "word " * 3000,
    "!" * 5000,
    "a" * 20_000,
    "a\u0301" * 5000 + " b",
)
_ALPHABETS = (
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x250, 0x36F),
    (0x370, 0x52F),
    (0x530, 0x7BF),
    (0x900, 0xDFF),
    (0xE00, 0x10FF),
    (0x1100, 0x11FF),
    (0x1200, 0x1CFF),
    (0x1D00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2070, 0x2BFF),
    (0x2E80, 0x33FF),
    (0x4E00, 0x9FFF),
    (0xA000, 0xABFF),
    (0xAC00, 0xD7A3),
    (0xE000, 0xFFFF),
    (0x0, 0x1F),
    (0x7F, 0x9F),
    (0x10000, 0x1FFFF),
    (0x1F300, 0x1FAFF),
    (0x20000, 0x2FFFF),
    (0x30000, 0x10FFFF),
)


def add(run_dir: RunDir, folder: Path, *, seed: int) -> StringInput:
    """Write `onnx/model_string.onnx` to the bundle `folder` and add it to `sentopt.json`.

    Raises:
        ExportError: the tokenizer is not supported, or tokens or answers differ.
        MissingExtraError: onnxruntime-extensions is not installed.
    """
    return add_graph(folder, list(store.read_split(run_dir, "test").texts), seed=seed)


def add_graph(folder: Path, usual: Sequence[Text], *, seed: int) -> StringInput:
    """`add`, with the texts (or pairs) of the test split, which are compared beside the difficult ones."""
    description = read_description(folder)
    body = onnx.load(folder / description.model_file)
    front = tokenizer_of(folder, description, body)
    encoder = TextEncoder.load(
        folder,
        max_length=description.max_length,
        pad_token_id=description.pad_token_id,
        side=description.truncation_side,
        pairs=description.pair is not None,
    )
    hard: Iterable[Text] = parity_pairs(folder, seed) if description.pair else parity_texts(folder, seed)
    texts = list(dict.fromkeys([*hard, *usual]))
    check_tokens(open_session(front.SerializeToString()), encoder, texts)
    joined = tokenizer.join(front, body, logits=description.output, thresholds=description.thresholds)
    metadata.describe(
        joined,
        description.labels,
        description.max_length,
        thresholds=description.thresholds,
        pair=description.pair,
    )
    content = joined.SerializeToString()
    difference = _check_answers(open_session(content), Classifier.load(folder, engine="onnxruntime"), texts)
    (folder / FILE).write_bytes(content)
    version = extensions().__version__
    entry = StringInput(FILE, len(content), len(texts), difference, tokenizer.EXTENSIONS, version)
    _describe(folder, entry, description)
    return entry


def extensions() -> ModuleType:
    """The package onnxruntime-extensions.

    Raises:
        MissingExtraError: the package is not installed.
    """
    name = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"  # the import sets it, and it would slow down every child process
    before = os.environ.get(name)
    package = require("onnxruntime_extensions", extra="string")
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before
    return package


def open_session(model: bytes) -> Any:
    """An onnxruntime session with the operators of onnxruntime-extensions."""
    options = session_options(None)
    options.register_custom_ops_library(extensions().get_library_path())
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def tokenizer_of(folder: Path, description: BundleDescription, body: onnx.ModelProto) -> onnx.ModelProto:
    """The graph of the tokenizer in `folder`, from texts to the inputs of `body`.

    Raises:
        ExportError: the tokenizer is not supported.
    """
    facts = tokenizer.read(
        folder / "tokenizer.json",
        max_length=description.max_length,
        pad_token_id=description.pad_token_id,
        side=description.truncation_side,
        pairs=description.pair is not None,
    )
    (opset,) = [entry.version for entry in body.opset_import if entry.domain in ("", "ai.onnx")]
    names = [node.name for node in body.graph.input]
    inputs = description.pair or (tokenizer.INPUT,)
    return tokenizer.tokenizer_graph(facts, names, opset=opset, ir_version=body.ir_version, inputs=inputs)


def parity_texts(folder: Path, seed: int) -> Iterator[str]:
    """Difficult texts for tokenizers, including the special tokens of the tokenizer in `folder`."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = [token["content"] for token in tokenizer["added_tokens"]]
    length = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))["max_length"]
    yield from HARD_TEXTS
    yield from (" ".join(f"{i} word" for i in range(count)) for count in (length // 2, length, 2 * length))
    for token in special:
        yield from (token, f"a{token}b {token.lower()} {token.upper()}", " ".join(token), token[:-1], token * 3)
        yield from (token + other for other in special)
    yield from every_character(max(1, (length - 2) // _TOKENS_PER_CHARACTER))
    yield from random_texts(RANDOM_TEXTS, seed, special)


def parity_pairs(folder: Path, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of `parity_texts`, each of which is first and second once, and of all lengths around those that are cut."""
    texts = list(parity_texts(folder, seed))
    others = random.Random(seed).sample(texts, len(texts))
    yield from zip(texts, others, strict=True)
    length = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))["max_length"]
    counted = [" ".join("0" for _ in range(n)) for half in (0, length // 2, length) for n in range(half, half + 5)]
    yield from ((a, b) for a in counted for b in counted)


def random_texts(count: int, seed: int, special: Sequence[str] = ()) -> Iterator[str]:
    """Texts of 1 to 60 characters: one third ASCII, one third of two scripts, one third of all scripts."""
    chance = random.Random(seed)
    for i in range(count):
        ranges = ([_ALPHABETS[0]], chance.choices(_ALPHABETS, k=2), _ALPHABETS)[i % 3]
        letters = [chr(chance.randint(*chance.choice(ranges))) for _ in range(chance.randint(1, 60))]
        for position in range(0, len(letters), chance.randint(3, 12)):
            letters[position] = " "
        if special and chance.random() < 0.1:
            letters.insert(chance.randrange(len(letters)), chance.choice(special))
        yield "".join(letters)


def every_character(per_text: int) -> Iterator[str]:
    """All assigned Unicode characters, each alone and inside a word, `per_text` characters in each text."""
    codes = (chr(code) for code in range(sys.maxunicode + 1))
    known = [c for c in codes if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    for characters in batched(known, per_text):
        yield " ".join(f"{c} a{c}e" for c in characters)


def check_tokens(session: Any, encoder: TextEncoder, texts: Sequence[Text]) -> None:
    """Compare all output arrays of the graph, with padding, with those of the encoder, in batches of mixed lengths.

    Raises:
        ExportError: texts differ; the message has their number and the first of them.
    """
    names = [node.name for node in session.get_outputs()]
    differing: list[Text] = []
    for batch in batched(texts, _BATCH):
        expected = encoder.pad(encoder.encode(batch))
        arrays = dict(zip(names, session.run(names, fed(session, batch)), strict=True))
        if all(np.array_equal(arrays[name], getattr(expected, name)) for name in names):
            continue
        rows = {name: _rows(session, name, batch) for name in names}
        alone = [encoder.pad([tokens]) for tokens in encoder.encode(batch)]
        differing_alone = [
            text
            for i, text in enumerate(batch)
            if any(rows[name][i] != getattr(alone[i], name)[0].tolist() for name in names)
        ]
        differing += differing_alone or batch  # if no text differs by itself, the padding is wrong
    if differing:
        raise ExportError(_message(session, encoder, differing, len(texts)))


def fed(session: Any, texts: Sequence[Text]) -> dict[str, Any]:
    """What a graph with string input is given for `texts`, or for pairs of them: an array for each of its inputs."""
    columns = zip(*((text,) if isinstance(text, str) else text for text in texts), strict=True)
    names = [node.name for node in session.get_inputs()]
    return {name: np.array(column, dtype=object) for name, column in zip(names, columns, strict=True)}


def _rows(session: Any, name: str, texts: Sequence[Text]) -> list[list[int]]:
    """One output array of the graph, computed for each text by itself."""
    return [session.run([name], fed(session, [text]))[0][0].tolist() for text in texts]


def _message(session: Any, encoder: TextEncoder, differing: Sequence[Text], total: int) -> str:
    shown = differing[:_SHOWN]
    lines = []
    for text, graph_ids in zip(shown, _rows(session, "input_ids", shown), strict=True):
        ids = list(encoder.encode([text])[0].ids)
        both = zip(graph_ids, ids, strict=False)
        first = next((i for i, (a, b) in enumerate(both) if a != b), min(len(graph_ids), len(ids)))
        difference = f"ids {graph_ids[first : first + 5]} instead of {ids[first : first + 5]} from token {first} on"
        lines.append(f"  - {text!r:.100}: {difference if graph_ids != ids else 'padded wrongly in a batch'}")
    return (
        f"the tokenizer inside the graph differs from the bundle's on {len(differing)} of {total} texts, "
        "so this model gets no graph with string input:\n" + "\n".join(lines)
    )


def _check_answers(session: Any, classifier: Classifier, texts: Sequence[Text]) -> float:
    """The largest probability difference between the graph and the classifier, one text at a time.

    Raises:
        ExportError: the difference exceeds the tolerance, or a label differs.
    """
    assert classifier.description is not None
    worst = 0.0
    limits = np.array(classifier.thresholds, dtype=np.float32)
    for text in [golden.text for golden in classifier.description.golden] or texts[-_BATCH:]:
        labels, rows, *sets = session.run(None, fed(session, [text]))
        expected = classifier.predict_proba([text])
        difference = float(np.abs(rows - expected).max())
        decided = labels[0] == rows[0].argmax() and all(np.array_equal(found, rows >= limits) for found in sets)
        if not difference <= _TOLERANCE or not decided:
            raise ExportError(
                f"the graph with string input answers {text!r:.100} with probabilities that differ by {difference:.3g} "
                f"from those of the bundle's graph (allowed: {_TOLERANCE:g})"
            )
        worst = max(worst, difference)
    return worst


def _describe(folder: Path, entry: StringInput, description: BundleDescription) -> None:
    """Add the file with its hash to `sentopt.json`."""
    path = folder / DESCRIPTION_FILE
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["files"][entry.file] = {"bytes": entry.bytes, "sha256": sha256_file(folder / entry.file)}
    facts["string_input"] = {
        "file": entry.file,
        **({"inputs": list(description.pair)} if description.pair else {"input": tokenizer.INPUT}),
        "outputs": [*tokenizer.OUTPUTS, *([tokenizer.LABEL_SETS] if description.thresholds else [])],
        "texts_checked": entry.texts,
        "max_probability_difference": entry.max_probability_difference,
        "operators": entry.operators,
        "needs": f"{PACKAGE}=={entry.version}",
    }
    atomic.write_text(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
