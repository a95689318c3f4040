"""`sentopt serve`: the endpoints without the page, asked by other servers' own clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_server import Server, ask, post, serving

from sentopt import Classifier

pytestmark = pytest.mark.versions

TEXTS = ["great great day", "terrible food", "the shop opens at nine", "日本語のテキスト", ""]


@pytest.fixture(scope="module")
def bundled(int8_run: Path) -> Classifier:
    return Classifier.load(int8_run / "bundle")


@pytest.fixture(scope="module")
def server(int8_run: Path) -> Iterator[Server]:
    """Of a graph that answers a text as when it is alone: concurrent requests share batches."""
    with serving("--run-dir", str(int8_run), verb="serve") as running:
        yield running


def test_it_has_the_endpoints_and_no_page(server: Server, bundled: Classifier) -> None:
    said = post(server.address + "/predict", {"text": TEXTS[0]}).json
    assert said["label"] == bundled(TEXTS[0]).label
    for path in ("/", "/config", "/gradio_api/info"):
        assert ask(server.address + path).status == 404
    assert ask(server.address + "/metrics").status == 200


def test_it_needs_no_package_of_the_page(finished_run: Path) -> None:
    """Gradio and pandas take more memory than the rest of the server."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sentopt.demo.access import Access\n"
        "from sentopt.demo.limits import Limits\n"
        "from sentopt.demo.models import Models\n"
        "from sentopt.demo.server import create_app\n"
        f"models = Models({{'': Path({str(finished_run / 'bundle')!r})}}, Limits())\n"
        "create_app(models, Access(), address='', page=False)\n"
        "print([name for name in ('gradio', 'pandas', 'openpyxl', 'torch', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def probabilities(bundled: Classifier, texts: list[str]) -> Any:
    return pytest.approx(bundled.predict_proba(texts), abs=1e-5)


def test_tritons_client_is_served(server: Server, bundled: Classifier) -> None:
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(server.address.removeprefix("http://"))
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        facts = client.get_server_metadata()
        assert facts["name"] == "sentopt"
        name = bundled.description.name if bundled.description else ""
        assert client.is_model_ready(name)
        assert not client.is_model_ready("another")
        metadata = client.get_model_metadata(name)
        assert [tensor["name"] for tensor in metadata["outputs"]] == ["label", "score", "probabilities"]
        tensor = http.InferInput("text", [len(TEXTS)], "BYTES")
        tensor.set_data_from_numpy(np.array(TEXTS, dtype=np.object_), binary_data=False)
        outputs = [http.InferRequestedOutput(one, binary_data=False) for one in ("label", "probabilities")]
        result = client.infer(name, [tensor], outputs=outputs, request_id="mine")
        assert result.get_response()["id"] == "mine"
        assert result.as_numpy("probabilities") == probabilities(bundled, TEXTS)
        labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label")]
        assert labels == [one.label for one in bundled.predict(TEXTS)]
        assert client.is_model_ready(name, "1")
        assert client.infer(name, [tensor], model_version="1").as_numpy("score") is not None
        with pytest.raises(Exception, match="no such model"):
            client.infer("another", [tensor])
    finally:
        client.close()


def test_the_hubs_inference_client_is_served(server: Server, bundled: Classifier) -> None:
    """In a process of its own: it sends nothing, not even here, where tests are kept off the hub."""
    code = (
        "import json\n"
        "from huggingface_hub import InferenceClient\n"
        f"client = InferenceClient(model={server.address + '/predict'!r})\n"
        f"best = client.text_classification({TEXTS[0]!r})\n"
        "print(json.dumps([best.label, best.score]))\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    answer = bundled(TEXTS[0])
    assert json.loads(done.stdout) == [answer.label, pytest.approx(answer.score, abs=1e-5)]


def test_text_embeddings_inferences_batches_are_served(server: Server, bundled: Classifier) -> None:
    said = post(server.address + "/predict", {"inputs": [[text] for text in TEXTS], "truncate": True}).json
    for scores, answer in zip(said, bundled.predict(TEXTS), strict=True):
        assert scores[0]["label"] == answer.label
        assert {one["label"]: one["score"] for one in scores} == pytest.approx(answer.probabilities, abs=1e-5)


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_texts_are_classified_as_by_vllm(path: str, server: Server, bundled: Classifier) -> None:
    said = post(server.address + path, {"model": "mine", "input": TEXTS}).json
    assert [one["label"] for one in said["data"]] == [one.label for one in bundled.predict(TEXTS)]
    assert [one["probs"] for one in said["data"]] == probabilities(bundled, TEXTS)
    assert said["usage"]["prompt_tokens"] == sum(len(one.ids) for one in bundled.encoder.encode(TEXTS))


def test_refusals_say_what_was_wrong(server: Server) -> None:
    pair = post(server.address + "/predict", {"inputs": ["one", "another"]})
    assert (pair.status, "a list of one" in pair.json["detail"]) == (422, True)
    other = post(server.address + "/v2/models/another/infer", {"inputs": []})
    assert (other.status, "no such model" in other.json["detail"]) == (404, True)
    own = post(server.address + "/predict", {"txt": "a"})
    assert (own.status, own.json["detail"]) == (422, "text: Field required; txt: Extra inputs are not permitted")
    both = post(server.address + "/predict", {"text": "a", "inputs": "b"})
    assert (both.status, both.json["detail"]) == (422, "inputs: Extra inputs are not permitted")
    assert post(server.address + "/predict", {"inputs": 3}).json["detail"].startswith("inputs: Input should be")
    unnamed = {"Content_Type": "", "Sec_Fetch_Site": "cross-site"}
    assert post(server.address + "/v2/models/another/infer", {}, **unnamed).status == 415
    assert ask(server.address + "/v2/models/a/b/c").status == 404
    assert ask(server.address + "/classify").status == 405
