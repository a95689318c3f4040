"""Pushing a bundle with a model card, against a stand-in of the hub's HTTP API."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hub_stand_in
import pytest
import yaml

from sentopt import Classifier, cli
from sentopt.bundles import card
from sentopt.runtime.description import read_description

pytestmark = pytest.mark.versions


@pytest.fixture
def hub() -> Iterator[hub_stand_in.Hub]:
    with hub_stand_in.running() as running:
        yield running


def push(hub: hub_stand_in.Hub, home: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its endpoint and token when it is imported."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HOME": str(home)}
    command = [sys.executable, "-m", "sentopt", "push", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**environment, **variables}
    )


def test_all_files_and_a_card_arrive_in_one_commit(hub: hub_stand_in.Hub, bundle: Path, tmp_path: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    options = ("--private", "--license", "apache-2.0", "--message", "first")
    done = push(hub, tmp_path, "me/tiny", bundle, *options, HF_TOKEN=hub_stand_in.TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.address}/me/tiny/commit/{'0' * 40}"
    assert hub_stand_in.TOKEN not in done.stdout + done.stderr
    assert hub.is_private
    (commit,) = hub.commits
    assert (commit["branch"], commit["message"]) == ("main", "first")
    card = commit["files"].pop("README.md").decode()
    assert Classifier.load(commit["files"], check=True)("great great day").label == "positive"
    assert "notes.txt" not in commit["files"]
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "apache-2.0"


@pytest.mark.parametrize("variables", [{}, {"HF_TOKEN": "hf_" + "wrong" * 6}])
def test_without_a_token_with_write_access_the_message_says_so(
    hub: hub_stand_in.Hub, bundle: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    done = push(hub, tmp_path, "me/tiny", bundle, **variables)
    assert done.returncode == 1
    assert done.stderr.startswith("sentopt: cannot push to me/tiny at http://127.0.0.1:")
    assert "a token with write access" in done.stderr
    assert "Traceback" not in done.stderr
    assert "wrongwrong" not in done.stderr
    assert hub.commits == []


def test_a_hub_that_cannot_be_reached(bundle: Path, tmp_path: Path) -> None:
    with hub_stand_in.running() as gone:
        pass
    done = push(gone, tmp_path, "me/tiny", bundle, HF_TOKEN=hub_stand_in.TOKEN)
    assert done.returncode == 1
    assert "Check that this machine can reach the hub" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_no_repository_has(hub: hub_stand_in.Hub, bundle: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, "me/tiny/../other", bundle, HF_TOKEN=hub_stand_in.TOKEN)
    assert done.returncode == 1
    assert "is no name of a repository, expected OWNER/NAME" in done.stderr
    assert hub.asked == []


def test_a_damaged_bundle_is_not_pushed(hub: hub_stand_in.Hub, bundle: Path, tmp_path: Path) -> None:
    (bundle / "tokenizer.json").write_text("{}")
    done = push(hub, tmp_path, "me/tiny", bundle, HF_TOKEN=hub_stand_in.TOKEN)
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert hub.asked == []


def test_the_card_says_what_the_bundle_says(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push", "me/tiny", str(bundle), "--card-only"]) == 0
    card = capsys.readouterr().out
    facts = json.loads((bundle / "sentopt.json").read_text())
    block = yaml.safe_load(card.split("---\n")[1])
    assert block["pipeline_tag"] == "text-classification"
    assert "license" not in block
    (result,) = block["model-index"][0]["results"]
    values = {m["type"]: m["value"] for m in result["metrics"]}
    assert values["accuracy"] == pytest.approx(facts["verified"]["accuracy"], abs=1e-4)
    assert f"| accuracy | {facts['verified']['accuracy']:.4f} (95 %: " in card
    assert facts["verified"]["reason"] in card
    for label in ("negative", "neutral", "positive"):
        assert f"| {label} | " in card
    assert "240 train, 60 validation, 120 test texts" in card
    assert str(bundle.parent.parent) not in card
    for name in facts["files"]:
        assert facts["files"][name]["sha256"] in card


def test_labels_that_would_break_the_card_are_quoted(bundle: Path, edit_description: Callable[..., None]) -> None:
    name = 'a: "b" # c --- 😀 {x} \\'
    edit_description(name=name)
    front = card.front_matter(read_description(bundle))
    assert yaml.safe_load(front.strip().strip("-"))["model-index"][0]["name"] == name


@pytest.mark.parametrize("revision", ["", "607a30d783dfa663caf39e06633721c8d4cfcd7e"])
def test_a_base_model_is_named_where_its_revision_on_the_hub_is_known(
    bundle: Path, edit_description: Callable[..., None], revision: str
) -> None:
    """`gpt2` may be a folder of that name or the model on the hub."""
    made_from = {"dataset": "files", "backbone": "gpt2", "backbone_revision": revision}
    edit_description(made_from=made_from)
    block = yaml.safe_load(card.front_matter(read_description(bundle)).split("---\n")[1])
    assert block.get("base_model") == ("gpt2" if revision else None)
