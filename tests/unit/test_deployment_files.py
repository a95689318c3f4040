"""The Dockerfile and the manifests of deploy/: valid, and in agreement with what the server does."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import pythons
import small_bundles
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sentopt.cli import parser
from sentopt.demo import telemetry
from sentopt.demo.limits import Limits
from sentopt.demo.models import Models
from sentopt.demo.routes import ENDPOINTS, PROBES

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes/sentopt.yaml"
ADAPTER = ROOT / "deploy/kubernetes/prometheus-adapter.yaml"
KSERVE = sorted((ROOT / "deploy/kserve").glob("*.yaml"))
USER = 65532
# Of KServe 0.21: what its custom resources have beside the fields of a pod.
PREDICTOR_KEYS = {"minReplicas", "maxReplicas", "model"}
MODEL_KEYS = {"modelFormat", "protocolVersion", "runtime", "storageUri"}
RUNTIME_KEYS = {"supportedModelFormats", "protocolVersions"}


def read(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, value) for name, _, value in (line.partition(" ") for line in joined.splitlines())]


def instruction(name: str) -> str:
    """The arguments of the last instruction of a name."""
    return [value for found, value in instructions() if found == name][-1]


def pods() -> list[dict[str, Any]]:
    """The pods of all manifests, as Kubernetes has them."""
    (deployment,) = (one for one in read(KUBERNETES) if one["kind"] == "Deployment")
    found = [deployment["spec"]["template"]["spec"]]
    for one in (one for path in KSERVE for one in read(path)):
        spec = one["spec"].get("predictor", one["spec"])
        if "containers" in spec:
            found.append({key: value for key, value in spec.items() if key not in PREDICTOR_KEYS | RUNTIME_KEYS})
    return found


def containers() -> list[dict[str, Any]]:
    return [container for pod in pods() for container in pod["containers"]]


def test_every_container_is_found() -> None:
    assert len(containers()) == 3


@pytest.mark.parametrize("version", ["1.30", "1.33", "latest"])
def test_the_manifests_are_valid_by_the_schemas_of_kubernetes(version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    version = validate.latest_version() if version == "latest" else version
    checked = [*read(KUBERNETES), *({"apiVersion": "v1", "kind": "Pod", "spec": pod} for pod in pods())]
    assert len(checked) == 7
    for resource in checked:
        assert validate.validate(resource, version, strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"nam": "x"}]}}, version, strict=True
        )


def test_the_resources_of_kserve_have_fields_that_it_knows() -> None:
    kinds = {(one["kind"], one["apiVersion"]): one["spec"] for path in KSERVE for one in read(path)}
    predictors = [read(path)[-1]["spec"]["predictor"] for path in KSERVE]
    assert kinds.keys() == {
        ("InferenceService", "serving.kserve.io/v1beta1"),
        ("ServingRuntime", "serving.kserve.io/v1alpha1"),
    }
    custom, of_runtime = predictors
    runtime = kinds["ServingRuntime", "serving.kserve.io/v1alpha1"]
    assert of_runtime.keys() <= PREDICTOR_KEYS
    assert of_runtime["model"].keys() <= MODEL_KEYS
    assert of_runtime["model"]["protocolVersion"] in runtime["protocolVersions"] == ["v2"]
    assert of_runtime["model"]["modelFormat"]["name"] == runtime["supportedModelFormats"][0]["name"]
    for container in (custom["containers"][0], runtime["containers"][0]):
        assert container["name"] == "kserve-container"  # by this name KServe finds it
        assert container["args"][0] == "--bundle"
        assert container["args"][1].rpartition("=")[2] == "/mnt/models"  # where KServe puts what it fetches
    name = next(one["metadata"]["name"] for one in read(KSERVE[0]) if one["kind"] == "InferenceService")
    assert custom["containers"][0]["args"][1] == f"{name}=/mnt/models"  # clients ask for it by that name
    assert {one["name"]: one["value"] for one in custom["containers"][0]["env"]}["PROTOCOL"] == "v2"


def test_ports_and_paths_are_those_of_the_server() -> None:
    port = parser.build().parse_args(["serve"]).port
    assert instruction("EXPOSE") == str(port)
    for container in containers():
        (opened,) = container["ports"]
        assert opened["containerPort"] == port
        probes = [container[name]["httpGet"] for name in container if name.endswith("Probe")]
        assert probes
        for probe in probes:
            assert probe["path"] in PROBES  # which ask for no password
            assert probe["port"] in (port, opened.get("name"))
    (deployment,) = (one for one in read(KUBERNETES) if one["kind"] == "Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)
    assert annotations["prometheus.io/path"] in ENDPOINTS
    check = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert f"'127.0.0.1', {port}" in check[-1]
    assert any(f"'{probe}'" in check[-1] for probe in PROBES)


def test_the_commands_are_parsed_by_the_command_line() -> None:
    entry, default = json.loads(instruction("ENTRYPOINT")), json.loads(instruction("CMD"))
    assert entry[:3] == ["/usr/bin/python3", "-m", "sentopt"]
    for arguments in (default, *(container["args"] for container in containers())):
        parsed = parser.build().parse_args([*entry[3:], *arguments])
        assert parsed.verb.__name__ == "serve"
        assert parsed.host == "0.0.0.0"
        assert parsed.bundle


def test_nothing_runs_as_root_or_writes_beside_tmp() -> None:
    assert instruction("USER") == f"{USER}:{USER}"
    for pod, container in zip(pods(), containers(), strict=True):
        allowed = {**pod.get("securityContext", {}), **container["securityContext"]}
        assert allowed["runAsNonRoot"] is True
        assert allowed["runAsUser"] == USER
        assert allowed["readOnlyRootFilesystem"] is True
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_a_pod_is_not_killed_while_it_answers() -> None:
    pod = pods()[0]
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    closing = 1 + telemetry.FLUSH_SECONDS  # of connections that are idle, and of what telemetry has left
    assert pod["terminationGracePeriodSeconds"] > before + Limits.drain_seconds + closing


def test_the_autoscaler_has_a_metric_that_the_server_counts(tmp_path: Path) -> None:
    (scaler,) = (one for one in read(KUBERNETES) if one["kind"] == "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    ((rule,),) = (one["rules"]["custom"] for one in read(ADAPTER))
    name = metric["pods"]["metric"]["name"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(f"{rule['name']['matches']}{{")
    models = Models({"": small_bundles.write(tmp_path / "bundle")}, Limits())
    counted = models.counters.page().decode()
    assert re.search(rf"^{rule['name']['matches']}(\{{| )", counted, re.M)


def test_selectors_find_the_pods() -> None:
    resources = {one["kind"]: one for one in read(KUBERNETES)}
    labels = resources["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert resources["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert resources["Service"]["spec"]["selector"] == labels
    assert resources["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert (
        resources["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == resources["Deployment"]["metadata"]["name"]
    )
    spread = resources["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [one["labelSelector"]["matchLabels"] for one in spread] == [labels, labels]


def test_the_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_gets_what_it_copies() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for name, value in instructions()
        if name == "COPY" and not value.startswith(("--from", "${BUNDLE}"))
        for source in shlex.split(value)[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert source in kept
    assert "exports/*/bundle" in kept


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package of a lock file."""
    found: dict[str, tuple[str, int]] = {}
    latest = ""
    for line in (ROOT / "deploy" / name).read_text().splitlines():
        if matched := re.match(r"([\w.-]+)==([\w.]+)", line):
            latest = canonicalize_name(matched[1])
            found[latest] = matched[2], 0
        elif "--hash=sha256:" in line:
            version, hashes = found[latest]
            found[latest] = version, hashes + 1
    return found


def needed(requirement: Requirement, seen: set[str]) -> None:
    """Add the names of a requirement and of all that it needs on this system."""
    for extra in ("", *requirement.extras):
        if (key := f"{canonicalize_name(requirement.name)}[{extra}]") in seen:
            continue
        seen.add(key)
        for line in distribution(requirement.name).requires or ():
            further = Requirement(line)
            if further.marker is None or further.marker.evaluate({"extra": extra}):
                needed(further, seen)


@pytest.mark.skipif(sys.platform != "linux", reason="the image is one of Linux")
def test_the_image_installs_the_constrained_versions_by_their_hashes() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    constrained = {canonicalize_name(name): version for name, version in pins.items()}
    lock = locked("requirements.txt")
    for name, (version, hashes) in lock.items():
        assert constrained.get(name, version) == version, name
        assert hashes > 0, name
    assert set(lock) - set(constrained) <= {"colorama"}
    pytest.importorskip("opentelemetry.sdk")
    seen: set[str] = set()
    for line in [*pythons.PROJECT["dependencies"], *pythons.requirements("serve", "otel")]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            needed(requirement, seen)
    names = {key.partition("[")[0] for key in seen}
    assert names <= set(lock)
    assert set(lock) - names <= {"colorama"}
    assert all(hashes for _, hashes in locked("requirements-build.txt").values())
