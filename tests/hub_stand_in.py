"""As much of the Hugging Face Hub's HTTP API as a push needs: a repository, LFS uploads, commits."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "x" * 34


class Hub(ThreadingHTTPServer):
    """What was asked for, what is stored, and the files of each commit by branch."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.repository: dict[str, Any] = {}
        self.stored: dict[str, bytes] = {}
        self.commits: list[dict[str, Any]] = []

    @property
    def is_private(self) -> bool:
        """Whether the repository was asked to be; huggingface_hub 2 names its visibility."""
        return self.repository.get("private") is True or self.repository.get("visibility") == "private"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(404, {"error": "not here"})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored[hashlib.sha256(body).hexdigest()] = body
        self._answer(200, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path)
        if self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            self.server.repository = json.loads(body)
            name = f"{self.server.repository.get('organization', 'me')}/{self.server.repository['name']}"
            self._answer(200, {"url": f"{self.server.address}/{name}", "name": name, "id": name})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".onnx") else "regular"} for f in files
            ]
            self._answer(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            upload = [{**o, "actions": {"upload": {"href": f"{self.server.address}/lfs/{o['oid']}"}}} for o in objects]
            self._answer(200, {"transfer": "basic", "objects": upload}, "application/vnd.git-lfs+json")
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": "not here"})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        commit: dict[str, Any] = {"branch": self.path.rpartition("/")[2], "files": {}}
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                commit["message"] = value["summary"]
            elif line["key"] == "file":
                commit["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                commit["files"][value["path"]] = self.server.stored[value["oid"]]
        self.server.commits.append(commit)
        address = f"{self.server.address}/me/tiny/commit/{'0' * 40}"
        self._answer(200, {"success": True, "commitUrl": address, "commitOid": "0" * 40, "hookOutput": ""})

    def _answer(self, status: int, body: object, kind: str = "application/json") -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@contextmanager
def running() -> Iterator[Hub]:
    """A hub on loopback, until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
