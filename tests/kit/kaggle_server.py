"""A server that answers as Kaggle does, for tests of Kaggle's real client."""

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kit.models.presets import BUNDLED_FOLDER


class Kaggle(ThreadingHTTPServer):
    """Answers as Kaggle does, with the bundled preset: a list, and a redirection for each file.

    Use it as a proxy: Kaggle's client then keeps its own addresses.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        #: The status of each answer to the client.
        self.status = 200
        #: Path -> its faults, one for each request; "" is none.
        self.faults: dict[str, list[str]] = {}
        #: Path -> its content, if it is not that of the bundled preset.
        self.contents: dict[str, bytes] = {}
        self.names = [str(file.relative_to(BUNDLED_FOLDER)) for file in BUNDLED_FOLDER.rglob("*") if file.is_file()]
        #: Requested paths, and the first byte if that is not 0.
        self.asked: list[str] = []
        #: Set at the end of a test, so that stalled answers end.
        self.over = threading.Event()

    def content(self, path: str) -> bytes:
        return self.contents.get(path) or (BUNDLED_FOLDER / path).read_bytes()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not report clients that disconnect."""


class _Answer(BaseHTTPRequestHandler):
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
        if self._fault(path, "silent"):
            self.server.over.wait(30)
            return None
        return self._head(302, {"Location": f"http://store.test/{path}", "Content-Length": "0"})

    def do_GET(self) -> None:
        path = self.path.removeprefix("http://store.test/")
        content = self.server.content(path)
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        first = int(self.headers["Range"].removeprefix("bytes=")[:-1]) if "Range" in self.headers else 0
        if first:
            self.server.asked.append(f"{path} from {first}")
            if self._fault(path, "range refused"):
                return self._json(416, {"code": 416})
        if self._fault(path, "changed"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        rest = content[first:]
        length = {"Accept-Ranges": "bytes", "Content-Length": str(len(rest))}
        self._head(206 if first else 200, length | {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"})
        for fault in ("cut", "reset", "stalled"):
            if self._fault(path, fault):
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                if fault == "stalled":
                    self.server.over.wait(30)
                if fault == "reset":
                    # Sends a reset instead of an orderly end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return None
        if self._fault(path, "slow"):
            for start in range(0, len(rest), 1 + len(rest) // 4):
                time.sleep(0.05)
                self.wfile.write(rest[start : start + 1 + len(rest) // 4])
            return None
        self.wfile.write(rest)
        return None

    def _fault(self, path: str, fault: str) -> bool:
        """Whether this fault is next; it then happens once."""
        waiting = self.server.faults.get(path, [])
        if waiting[:1] != [fault]:
            return False
        del waiting[0]
        return True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _json(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Do not log."""
