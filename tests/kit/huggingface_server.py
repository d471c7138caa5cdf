"""A server that answers as Hugging Face does, for tests of its real client."""

import hashlib
import json
import re
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from loopback import BROKEN, Answer, LoopbackServer

TOKEN = "hf_of_a_learner"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HuggingFace(LoopbackServer):
    """Answers as Hugging Face does, with the files of a folder as the model ``google/gemma``.

    Large files are in a store: by plain HTTP, or by Xet in pieces.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(_Answer)
        self.folder = folder
        self.commit = COMMIT
        self.xet = False
        #: Needs a token; and whether the token's account has accepted the licence.
        self.gated, self.accepted = False, True
        self.requests = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def store(self) -> str:
        """Another host."""
        return f"http://localhost:{self.server_port}"

    def content(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()


class _Answer(Answer, BaseHTTPRequestHandler):
    server: HuggingFace
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.requests += 1
        path = self.path.partition("?")[0]
        if path.startswith("/store/"):
            return self._stored(path.removeprefix("/store/"))
        if path.startswith(("/v1/reconstructions/", "/v2/reconstructions/")):
            return self._reconstruction(path)
        if path.startswith("/xorb/"):
            return self._xorb(path.removeprefix("/xorb/"))
        if self.server.status != 200:
            return self._refuse(self.server.status)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN):
            return self._refuse(401, message="Invalid credentials in Authorization header")
        if not re.search("/google/gemma(/|$)", path):
            return self._refuse(404 if token else 401, code="RepoNotFound")
        if "/xet-read-token/" in path:
            return self._xet_token()
        if path.startswith("/api/models/"):
            return self._list(path.partition("/revision/")[2])
        revision, _, file = path.partition("/resolve/")[2].partition("/")
        return self._resolve(revision, file, bool(token))

    def _known(self, revision: str) -> bool:
        return revision in ("", "main", self.server.commit)

    def _list(self, revision: str) -> None:
        if not self._known(revision):
            return self._refuse(404, code="RevisionNotFound")
        if self.next_fault("list", "page"):
            return self._send(200, b"<html>Welcome! Please log in.</html>", {"Content-Type": "text/html"})
        folder = self.server.folder
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        siblings = [{"rfilename": str(file.relative_to(folder)), "size": file.stat().st_size} for file in files]
        return self._json({"id": "google/gemma", "sha": self.server.commit, "siblings": siblings, "tags": []})

    def _resolve(self, revision: str, path: str, has_token: bool) -> None:
        """What the client asks first: where a file is, and its hash."""
        if not self._known(revision):
            return self._refuse(404, code="RevisionNotFound")
        if self.server.gated and not (has_token and self.server.accepted):
            return self._refuse(403 if has_token else 401, code="GatedRepo")
        if not (self.server.folder / path).is_file():
            return self._refuse(404, code="EntryNotFound")
        if self.next_fault(path, "silent"):
            self.server.over.wait(30)
            self.close_connection = True
            return None
        content = self.server.content(path)
        headers = {"X-Repo-Commit": self.server.commit}
        if not path.endswith((".safetensors", ".h5")):
            if self.command == "GET":
                self.server.asked.append(path)
            content = self.server.contents.get(path, content)
            return self._send(200, content, headers | {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'})
        sha256 = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        if self.server.xet:
            route = f"{self.server.address}/api/models/google/gemma/xet-read-token/{self.server.commit}"
            headers |= {"X-Xet-Hash": sha256, "Link": f'<{route}>; rel="xet-auth"'}
        return self._send(302, b"", headers | {"Location": f"{self.server.store}/store/{path}"})

    def _stored(self, path: str) -> None:
        if "Authorization" in self.headers:  # another host, which must not see the token
            return self._refuse(400)
        content = self.server.contents.get(path, self.server.content(path))
        first = self.first_byte()
        self.server.asked.append(f"{path} from {first}" if first else path)
        if first and self.next_fault(path, "range ignored"):
            first = 0
        if self.next_fault(path, "changed"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        rest = content[first:]
        if self._broken(path, rest, 206 if first else 200):
            return None
        headers = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if first else {}
        return self._send(206 if first else 200, rest, headers)

    def _broken(self, path: str, content: bytes, status: int) -> bool:
        """Send a content with the fault that is next, if it is one of those."""
        fault = self.next_fault(path, *BROKEN)
        if fault:
            self.send_head(status, {"Content-Length": str(len(content))})
            self.send_broken(fault, content)
        return bool(fault)

    def _xet_token(self) -> None:
        expires = int(time.time()) + 3600
        headers = {
            "X-Xet-Cas-Url": self.server.address,
            "X-Xet-Access-Token": "token",
            "X-Xet-Token-Expiration": str(expires),
        }
        self._json({"casUrl": self.server.address, "accessToken": "token", "exp": expires}, headers)

    def _path_of(self, sha256: str) -> str:
        files = [file for file in self.server.folder.rglob("*") if file.suffix in (".safetensors", ".h5")]
        found = [file for file in files if hashlib.sha256(file.read_bytes()).hexdigest() == sha256]
        return str(found[0].relative_to(self.server.folder))

    def _reconstruction(self, path: str) -> None:
        """Which pieces of which object make a file: here it is one object of its own."""
        file_hash = path.rpartition("/")[2]
        size, count = len(self.server.content(self._path_of(file_hash))), len(self._chunks(file_hash))
        first = self.first_byte()
        if first >= size:
            return self._refuse(416)
        chunks = {"start": 0, "end": count}
        length = sum(map(len, self._chunks(file_hash)))
        fetch = {
            "range": chunks,
            "url": f"{self.server.address}/xorb/{file_hash}",
            "url_range": {"start": 0, "end": length - 1},
        }
        if path.startswith("/v2/"):
            return self._refuse(404)
        return self._json(
            {
                "offset_into_first_range": first,
                "terms": [{"hash": file_hash, "unpacked_length": size, "range": chunks}],
                "fetch_info": {file_hash: [fetch]},
            }
        )

    def _chunks(self, file_hash: str) -> list[bytes]:
        """Pieces of up to 64 KiB: version, packed size, no compression, size, and the content."""
        path = self._path_of(file_hash)
        content = self.server.contents.get(path, self.server.content(path))
        pieces = [content[start : start + 65536] for start in range(0, len(content), 65536)]
        return [
            bytes([0]) + len(piece).to_bytes(3, "little") + bytes([0]) + len(piece).to_bytes(3, "little") + piece
            for piece in pieces
        ]

    def _xorb(self, file_hash: str) -> None:
        path = self._path_of(file_hash)
        self.server.asked.append(f"{path} by Xet")
        content = b"".join(self._chunks(file_hash))
        if not self._broken(f"{path} by Xet", content, 206):
            self._send(206, content, {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"})

    def next_fault(self, path: str, *faults: str) -> str:
        """As of other servers; a request for the head alone has the fault "silent" at most."""
        return super().next_fault(path, *(fault for fault in faults if self.command != "HEAD" or fault == "silent"))

    def _refuse(self, status: int, code: str = "", message: str = "no") -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _json(self, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_head(status, headers | {"Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)
