"""The npm package, packed as npm packs it and installed beside its peers: in Node, TypeScript, and other runtimes.

Bun, Deno and Vite are tried where they are on PATH or in the folder of node modules that SENTOPT_JS_TOOLS names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from demo_browser import chromium, needs_chromium
from pages import PAGES, Block, blocks

from sentopt import Classifier, __version__

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MODULES = ROOT / "demo" / "embed" / "javascript" / "node_modules"
SOURCE = ROOT / "demo" / "embed" / "javascript" / "sentopt-classifier"
NODE, NPM = shutil.which("node"), shutil.which("npm")
NATIVE, WEB = "onnxruntime-node", "onnxruntime-web"
COMPLAINTS = [
    "TypeError: classify expects one text (a string), found null; for many texts: classifyAll(texts)",
    "TypeError: classify expects one text (a string), found undefined; for many texts: classifyAll(texts)",
    "TypeError: classify expects one text (a string), found an array; for many texts: classifyAll(texts)",
    "TypeError: classifyAll expects an array of texts, found one string",
    "TypeError: classifyAll expects an array of texts, found null",
    "TypeError: text 1 must be a string, found 2",
    "TypeError: batchSize must be a whole number from 1, found 0",
    "TypeError: a bundle is the address of its folder",
    "TypeError: the options of Classifier.load must be an object, found null",
    'TypeError: Classifier.load has no option "chek"; its options are timeout, retries, pause,',
    "is not a bundle",
    "Error: fallback: true needs an FP32 graph, and this bundle carries none",
    "Error: this classifier was disposed of: load the bundle again",
]

pytestmark = [
    pytest.mark.skipif(NODE is None or NPM is None, reason="node and npm are not on PATH"),
    pytest.mark.skipif(not (MODULES / NATIVE).is_dir(), reason="run `npm ci` in demo/embed/javascript"),
]


def tool(name: str, *places: str) -> str:
    """A program that may be there."""
    folder = os.environ.get("SENTOPT_JS_TOOLS", "")
    found = [str(Path(folder) / place) for place in places if folder and (Path(folder) / place).is_file()]
    program = found[0] if found else shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not on PATH, nor in a folder that SENTOPT_JS_TOOLS names")
    return program


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it would be published, unpacked."""
    folder = tmp_path_factory.mktemp("packed")
    subprocess.run(
        [str(NPM), "pack", "--pack-destination", str(folder)], cwd=SOURCE, check=True, capture_output=True, timeout=300
    )
    (archive,) = folder.glob("sentopt-classifier-*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


@pytest.fixture
def app(packed: Path, tmp_path: Path) -> Path:
    """A project with the package and everything that it may want."""
    modules = tmp_path / "node_modules"
    modules.mkdir()
    shutil.copytree(packed, modules / "sentopt-classifier")
    for name in (NATIVE, WEB, "onnxruntime-common", "@huggingface", "@types", "undici-types"):
        (modules / name).symlink_to(MODULES / name)
    (tmp_path / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    for name in ("npm_app.mjs", "typed_app.ts"):
        shutil.copyfile(HERE / name, tmp_path / name)
    return tmp_path


def run(app: Path, *command: object) -> Any:
    done = subprocess.run([*map(str, command)], cwd=app, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_answers(found: Any, bundle: Path, runtime: str) -> None:
    classifier = Classifier.load(bundle)
    assert found["runtime"] == [runtime]
    assert found["labels"] == list(classifier.labels)
    assert found["arrived"]["loaded"] == found["arrived"]["total"]
    assert found["rising"]
    assert found["none"] == []
    for answers in (found["one"], found["many"], found["together"]):
        for text, answer in zip(found["texts"], answers, strict=True):
            expected = classifier(text)
            assert (answer["label"], answer["truncated"]) == (expected.label, expected.truncated)
            assert answer["labels"] == [expected.label]
            assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-3)
    assert found["last"] in classifier.labels
    for said, expected_words in zip(found["complaints"], COMPLAINTS, strict=True):
        assert expected_words in said


def test_the_package_holds_what_it_exports_and_nothing_else(packed: Path) -> None:
    package = json.loads((packed / "package.json").read_text())
    names = {path.name for path in packed.iterdir()}
    assert names == {path.name for path in SOURCE.iterdir()}
    for conditions in package["exports"].values():
        for target in conditions.values() if isinstance(conditions, dict) else [conditions]:
            assert (packed / target).is_file()
    assert (packed / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "private" not in package
    assert package["version"] == __version__


@pytest.mark.parametrize("bundle_fixture", ["fp32_bundle", "int8_bundle"])
def test_in_node_with_the_native_runtime(bundle_fixture: str, app: Path, request: pytest.FixtureRequest) -> None:
    bundle = request.getfixturevalue(bundle_fixture)
    assert_answers(run(app, NODE, "npm_app.mjs", bundle), bundle, "node")


def test_in_node_with_webassembly_where_the_native_runtime_is_not_installed(app: Path, fp32_bundle: Path) -> None:
    (app / "node_modules" / NATIVE).unlink()
    assert_answers(run(app, NODE, "npm_app.mjs", fp32_bundle), fp32_bundle, "web")
    (app / "node_modules" / WEB).unlink()
    done = subprocess.run(
        [str(NODE), "npm_app.mjs", str(fp32_bundle)], cwd=app, capture_output=True, text=True, check=False
    )
    assert "install onnxruntime-node or onnxruntime-web beside sentopt-classifier" in done.stderr


def test_in_bun(app: Path, fp32_bundle: Path) -> None:
    bun = tool("bun", "@oven/bun-linux-x64/bin/bun", "@oven/bun-linux-aarch64/bin/bun")
    assert_answers(run(app, bun, "npm_app.mjs", fp32_bundle), fp32_bundle, "node")


def test_in_deno(app: Path, fp32_bundle: Path) -> None:
    deno = tool("deno", "@deno/linux-x64-glibc/deno", "@deno/linux-arm64-glibc/deno")
    allowed = ("--allow-read", "--allow-ffi", "--allow-env", "--allow-sys")
    assert_answers(run(app, deno, "run", *allowed, "npm_app.mjs", fp32_bundle), fp32_bundle, "node")


@pytest.mark.parametrize(
    ("resolution", "mistakes"),
    [
        (
            "bundler",
            {
                "classify(": "clasify(",
                "({ label,": "({ labl,",
                "timeout: 5_000": 'timeout: "5"',
                '"the weather"]]': "3]]",
            },
        ),
        ("nodenext", {}),
    ],
)
def test_types_are_strict(resolution: str, mistakes: dict[str, str], app: Path) -> None:
    module = "nodenext" if resolution == "nodenext" else "esnext"
    options = {"strict": True, "noEmit": True, "target": "es2022", "module": module, "moduleResolution": resolution}
    options |= {"lib": ["es2023", "dom", "dom.iterable"], "types": ["node"], "noUncheckedIndexedAccess": True}
    options |= {"exactOptionalPropertyTypes": True}
    (app / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["typed_app.ts"]}))
    source = app / "typed_app.ts"
    right = source.read_text(encoding="utf-8")
    if resolution == "nodenext":  # the declarations of @huggingface/tokenizers 0.2.0 lack file extensions
        lines = [line for line in right.splitlines() if "okenizer" not in line and "core" not in line.lower()]
        right = "\n".join(lines) + "\n"
        source.write_text(right, encoding="utf-8")
    command = [str(NODE), str(MODULES / "typescript/bin/tsc"), "-p", str(app)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    wrong = right
    for here, mistake in mistakes.items():
        wrong = wrong.replace(here, mistake)
    source.write_text(wrong, encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = set(map(int, re.findall(r"typed_app\.ts\((\d+),", done.stdout)))
    for mistake in mistakes.values():
        assert complaints.issuperset(n for n, line in enumerate(wrong.splitlines(), 1) if mistake in line), done.stdout


def test_the_typed_application_runs(app: Path, fp32_bundle: Path) -> None:
    script = (app / "typed_app.ts").read_text(encoding="utf-8")
    compile_ = [str(NODE), str(MODULES / "typescript/bin/tsc"), "--outDir", str(app), "--target", "es2022"]
    compile_ += ["--module", "esnext", "--moduleResolution", "bundler", "--skipLibCheck", str(app / "typed_app.ts")]
    subprocess.run(compile_, cwd=app, capture_output=True, check=False)
    assert "import * as web" in script
    done = subprocess.run(
        [str(NODE), "typed_app.js", str(fp32_bundle)], cwd=app, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "false"


JS_BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "js"]


@pytest.mark.parametrize("block", JS_BLOCKS, ids=str)
def test_javascript_of_the_pages_runs(block: Block, app: Path, fp32_bundle: Path, pair_bundle: Path) -> None:
    """What needs a bundler is parsed here; its lines are those of `VITE_MAIN`, which is built and visited."""
    script = app / "page.mjs"
    places = ("exports/quickstart/bundle", "exports/pairs/bundle", "path/or/address/of/bundle")
    for place, bundle in zip(places, (fp32_bundle, pair_bundle, fp32_bundle), strict=True):
        (app / place).parent.mkdir(parents=True)
        (app / place).symlink_to(bundle)
    script.write_text(block.code, encoding="utf-8")
    bundled = "?url" in block.code
    done = subprocess.run(
        [str(NODE), *(["--check"] if bundled else []), "page.mjs"], cwd=app, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if bundled:
        setup = [line for line in VITE_MAIN.splitlines() if line.startswith(("import", "ort."))]
        assert [line for line in setup if line not in re.sub(r" +//.*", "", block.code)] == []


VITE_MAIN = """
import * as ort from "onnxruntime-web/wasm";
import wasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { Classifier } from "sentopt-classifier";

ort.env.wasm.wasmPaths = { wasm };
ort.env.wasm.numThreads = 1;
globalThis.answer = Classifier.load("bundle/", { check: true }).then((found) => found.classify("great great day"));
"""


@needs_chromium
def test_a_bundler_packs_it_for_a_browser(app: Path, fp32_bundle: Path) -> None:
    vite = tool("vite", "vite/bin/vite.js")
    (app / "main.js").write_text(VITE_MAIN)
    (app / "index.html").write_text('<!doctype html><script type="module" src="main.js"></script>')
    shutil.copytree(fp32_bundle, app / "public" / "bundle")
    command = [str(NODE), vite, "build", "--target", "esnext"] if vite.endswith(".js") else [vite, "build"]
    subprocess.run(command, cwd=app, check=True, capture_output=True)
    from test_page_network import serving

    with serving(app / "dist") as server, chromium() as browser:
        page = browser.new_page()
        page.goto(server.address)
        page.wait_for_function("() => globalThis.answer")
        assert page.evaluate("() => answer")["label"] == Classifier.load(fp32_bundle)("great great day").label
