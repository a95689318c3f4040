"""Build the container image without its base images, measure it, and run it as a cluster would.

The two base images are replaced by stand-ins of the same Debian packages (`mmdebstrap`), `buildah` runs the steps of
the Dockerfile, and `bwrap` runs the result: as the image's user, with its environment and its entry point as process 1,
with a root that is read-only. Needs root, and Debian's packages mmdebstrap, buildah and bubblewrap.

    python deploy/check_image.py --bundle exports/quickstart/bundle
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 300_000_000  # bytes
TOOLS = ("mmdebstrap", "buildah", "bwrap", "nsenter")
BUILD_PACKAGES = "python3,python3-pip,python3-venv"
# Those of gcr.io/distroless/python3-debian12, by its sources: python3/python.bzl, cc/cc.bzl, base/base.bzl.
RUN_PACKAGES = (
    "base-files,netbase,tzdata,media-types,ca-certificates,libc6,libssl3,libgcc-s1,libgomp1,libstdc++6,gcc-12-base,"
    "libbz2-1.0,libcom-err2,libcrypt1,libdb5.3,libexpat1,libffi8,libgssapi-krb5-2,libk5crypto3,libkeyutils1,libkrb5-3,"
    "libkrb5support0,liblzma5,libncursesw6,libnsl2,libreadline8,libsqlite3-0,libtinfo6,libtirpc3,libuuid1,zlib1g,"
    "libpython3.11-minimal,libpython3.11-stdlib,python3.11-minimal,python3-distutils"
)
CONTEXT = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "sentopt", "deploy")
_WRITES = """
import os
open("/tmp/x", "w")
print(os.getuid())
try:
    open("/x", "w")
except OSError as error:
    print(error)
"""


class Images:
    """Images that buildah keeps in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str) -> str:
        """The output of one buildah command."""
        storage = ("--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run"))
        command = ["buildah", *storage, "--storage-driver", "vfs", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        if done.returncode:
            sys.exit(f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout.strip()

    def stand_in(self, name: str, packages: str, *options: str) -> None:
        """An image of Debian packages."""
        archive = self.folder / f"{name}.tar"
        made = ["mmdebstrap", "--quiet", *options, f"--include={packages}", "bookworm", str(archive)]
        subprocess.run(made, check=True)
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(archive), "/")
        self.run("config", "--entrypoint", "[]", container)
        self.run("commit", "--quiet", container, name)
        self.run("rm", container)
        archive.unlink()

    def build(self, name: str, context: Path, *options: str) -> None:
        """The image of the Dockerfile, each step run anew."""
        shared = [file for file in ("/etc/pip.conf", "/etc/ssl/certs") if Path(file).exists()]
        self.run(
            *("build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--no-cache", "--tag", name),
            *("--build-arg", "BUILD_IMAGE=localhost/stand-in-build", "--build-arg", "RUN_IMAGE=localhost/stand-in-run"),
            *(option for file in shared for option in ("--volume", f"{file}:{file}:ro")),
            *options,
            str(context),
        )

    def mounted(self, name: str) -> Path:
        """The files of an image."""
        return Path(self.run("mount", self.run("from", "--pull-never", name)))

    def settings(self, name: str) -> dict[str, Any]:
        """Entry point, user, environment, ports and health check of an image."""
        facts: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", name))["Docker"]["config"]
        return facts


def context_with(bundle: Path, folder: Path) -> Path:
    """What `docker build .` would send, with the bundle where a run leaves it."""
    context = folder / "context"
    for name in CONTEXT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            context.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, context / name)
    shutil.copytree(bundle, context / "exports/checked/bundle")
    return context


def contents(folder: Path) -> dict[str, str]:
    """Mode, time and SHA-256 of each file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(facts.st_mode) else ""
        found[str(path.relative_to(folder))] = f"{facts.st_mode:o} {facts.st_mtime:.0f} {digest}"
    return found


def size(folder: Path) -> int:
    """Bytes of all files below a folder, hard links once, without folders, whose sizes depend on the file system."""
    found = (path.lstat() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sum({(facts.st_dev, facts.st_ino): facts.st_size for facts in found}.values())


@contextmanager
def container(root: Path, settings: dict[str, Any], bundle: Path | None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The entry point as process 1 in namespaces of its own; yields its parent and its number here."""
    user, _, group = settings["User"].partition(":")
    told, tell = os.pipe()
    command = [
        *("bwrap", "--unshare-all", "--as-pid-1", "--die-with-parent", "--uid", user, "--gid", group),
        *("--ro-bind", str(root), "/", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"),
        *(("--ro-bind", str(bundle), "/bundle") if bundle else ()),
        *("--chdir", settings.get("WorkingDir") or "/", "--clearenv", "--info-fd", str(tell)),
        *(part for line in settings["Env"] for part in ("--setenv", *line.split("=", 1))),
        *settings["Entrypoint"],
        *settings["Cmd"],
    ]
    with subprocess.Popen(
        command, pass_fds=[tell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        os.close(tell)
        with open(told) as stream:
            said = stream.read()
        if not said:
            sys.exit(f"bwrap failed: {process.communicate()[0]}")
        number = json.loads(said)["child-pid"]
        try:
            yield process, number
        finally:
            if process.poll() is None:
                process.kill()


def inside(number: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the image in the namespaces of a container, as its user."""
    entered = ["nsenter", "--target", str(number), "--all", "--preserve-credentials", "--", *command]
    return subprocess.run(entered, capture_output=True, text=True)


def ask(number: int, path: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON that the server in a container answers to a client on the same network."""
    code = (
        "import http.client, sys\n"
        "c = http.client.HTTPConnection('127.0.0.1', 7860, timeout=10)\n"
        f"c.request({'GET' if body is None else 'POST'!r}, {path!r}, {json.dumps(body)!r}, "
        "{'Content-Type': 'application/json'})\n"
        "r = c.getresponse(); print(r.status); print(r.read().decode())\n"
    )
    entered = ["nsenter", "--target", str(number), "--net", "--", sys.executable, "-c", code]
    done = subprocess.run(entered, capture_output=True, text=True)
    if done.returncode:
        return 0, done.stderr.strip().splitlines()[-1]
    status, _, answer = done.stdout.partition("\n")
    return int(status), json.loads(answer)


def run(root: Path, settings: dict[str, Any], bundle: Path | None) -> dict[str, Any]:
    """Start, wait until ready, ask, look at the process, stop; what was seen."""
    seen: dict[str, Any] = {}
    started = time.monotonic()
    with container(root, settings, bundle) as (process, number):
        while ask(number, "/readyz")[0] != 200:
            if process.poll() is not None or time.monotonic() > started + 120:
                process.kill()
                sys.exit(f"the server did not become ready: {process.communicate()[0]}")
            time.sleep(0.1)
        seen["seconds_until_ready"] = round(time.monotonic() - started, 1)
        seen["predict"] = ask(number, "/predict", {"text": "Lovely people!"})
        check = settings["Healthcheck"]["Test"]
        assert check[0] == "CMD", check
        seen["healthcheck"] = inside(number, *check[1:]).returncode
        seen["written"] = inside(number, "/usr/bin/python3", "-c", _WRITES).stdout.split("\n")[:2]
        stopped = time.monotonic()
        os.kill(number, signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        seen["exit"] = process.returncode
        seen["seconds_to_stop"] = round(time.monotonic() - stopped, 1)
        seen["said"] = said.strip().splitlines()
    return seen


def main() -> int:
    """Build, measure and run; 1 if something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="the folder that holds sentopt.json")
    options = parser.parse_args()
    if os.geteuid() or (missing := [tool for tool in TOOLS if not shutil.which(tool)]):
        sys.exit("this needs root" if os.geteuid() else f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="sentopt-image-") as folder:
        Path(folder).chmod(0o755)  # the image's user reads the bundle
        report, problems = checked(Images(Path(folder)), options.bundle.resolve())
    print(json.dumps(report, indent=2))
    print(*(f"FAILED: {problem}" for problem in problems), sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


def checked(images: Images, bundle: Path) -> tuple[dict[str, Any], list[str]]:
    """What was measured and seen, and what of it is wrong."""
    images.stand_in("stand-in-build", BUILD_PACKAGES, "--variant=minbase")
    alias = "--customize-hook=ln -s python3.11 $1/usr/bin/python3"
    images.stand_in("stand-in-run", RUN_PACKAGES, "--variant=extract", alias)
    context = context_with(bundle, images.folder)
    images.build("first", context)
    images.build("second", context, "--target", "with-bundle", "--build-arg", "BUNDLE=exports/checked/bundle")
    base, first, second = map(images.mounted, ("stand-in-run", "first", "second"))
    one, other = contents(first / "app"), contents(second / "app")
    settings = images.settings("first")
    mount_point = first / "bundle"  # which a container runtime makes where it mounts a volume
    mount_point.mkdir(exist_ok=True)
    mounted, copied = (
        run(first, settings, context / "exports/checked/bundle"),
        run(second, images.settings("second"), None),
    )
    total, parts = size(first), sorted(((size(part), part.name) for part in (first / "app").iterdir()), reverse=True)
    report = {
        "bytes": total,
        "bytes_of_base": size(base),
        "bytes_of_app": size(first / "app"),
        "largest_parts": {name: number for number, name in parts[:8]},
        "differ_between_builds": sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)),
        "mounted_bundle": mounted,
        "copied_bundle": copied,
    }
    return report, list(wrong(report, settings))


def wrong(report: dict[str, Any], settings: dict[str, Any]) -> Iterator[str]:
    """What is not as it must be."""
    if report["bytes"] > LARGEST:
        yield f"the image has {report['bytes']:,} bytes, more than {LARGEST:,}"
    if report["differ_between_builds"]:
        yield "two builds differ"
    if set(settings["ExposedPorts"]) != {"7860/tcp"}:
        yield f"exposed: {settings['ExposedPorts']}"
    for seen in (report["mounted_bundle"], report["copied_bundle"]):
        status, answer = seen["predict"]
        if status != 200 or "label" not in answer:
            yield f"/predict answered {status} {answer}"
        if seen["healthcheck"] or seen["exit"]:
            yield f"the health check ended with {seen['healthcheck']}, the server with {seen['exit']}"
        if seen["written"][0] != "65532" or "Read-only" not in seen["written"][1]:
            yield f"user and root: {seen['written']}"


if __name__ == "__main__":
    sys.exit(main())
