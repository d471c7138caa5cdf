"""A server that answers as Kaggle does, for tests of Kaggle's real client."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback import BROKEN, Answer, LoopbackServer

from kit.models.presets import BUNDLED_FOLDER


class Kaggle(LoopbackServer):
    """Answers as Kaggle does, with the bundled preset: a list, and a redirection for each file.

    Use it as a proxy: Kaggle's client then keeps its own addresses.
    """

    def __init__(self) -> None:
        super().__init__(_Answer)
        self.names = [str(file.relative_to(BUNDLED_FOLDER)) for file in BUNDLED_FOLDER.rglob("*") if file.is_file()]

    def content(self, path: str) -> bytes:
        return self.contents.get(path) or (BUNDLED_FOLDER / path).read_bytes()


class _Answer(Answer, BaseHTTPRequestHandler):
    server: Kaggle

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = request.get("path", "")
        if self.path.endswith("/ListModelInstanceVersionFiles"):
            files = [{"name": name, "size": len(self.server.content(name))} for name in self.server.names]
            return self._json(200, {"files": files, "nextPageToken": ""})
        if self.path.endswith("/GetModelInstance"):
            return self._json(200, {"versionNumber": 3})
        self.server.asked.append(path)
        answer = self.server.status if self.server.status != 200 or path in self.server.names else 404
        if answer != 200:
            return self._json(answer, {"code": answer, "message": "no"})
        if self.next_fault(path, "silent"):
            self.server.over.wait(30)
            return None
        return self.send_head(302, {"Location": f"http://store.test/{path}", "Content-Length": "0"})

    def do_GET(self) -> None:
        path = self.path.removeprefix("http://store.test/")
        content = self.server.content(path)
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        first = self.first_byte()
        if first:
            self.server.asked.append(f"{path} from {first}")
            if self.next_fault(path, "range refused"):
                return self._json(416, {"code": 416})
        if self.next_fault(path, "changed"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        rest = content[first:]
        length = {"Accept-Ranges": "bytes", "Content-Length": str(len(rest))}
        self.send_head(206 if first else 200, length | {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"})
        if fault := self.next_fault(path, *BROKEN):
            return self.send_broken(fault, rest)
        self.wfile.write(rest)
        return None

    def _json(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)
