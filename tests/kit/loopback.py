"""What servers on this machine that stand in for a service share: faults, one for each request."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Server = TypeVar("Server", bound="LoopbackServer")

#: A content of which half is sent, then nothing more, a reset, or silence; and one that is slow.
BROKEN = ("cut", "reset", "stalled", "slow")


class LoopbackServer(ThreadingHTTPServer):
    """A server with files, on a free port."""

    def __init__(self, answer: "type[Answer]") -> None:
        super().__init__(("127.0.0.1", 0), answer)
        #: The status of each answer, if it is not 200.
        self.status = 200
        #: Path -> its faults, one for each request; "" is none.
        self.faults: dict[str, list[str]] = {}
        #: Path -> its content, if it is not that of the files.
        self.contents: dict[str, bytes] = {}
        #: Paths of which the content was asked for, and the first byte if that is not 0.
        self.asked: list[str] = []
        #: Set at the end of a test, so that stalled answers end.
        self.over = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not report clients that disconnect."""


class Answer(BaseHTTPRequestHandler):
    """Sends contents, whole or broken."""

    server: LoopbackServer

    def next_fault(self, path: str, *faults: str) -> str:
        """The one of these faults that is next, which then has happened; empty if none is."""
        waiting = self.server.faults.get(path, [])
        return waiting.pop(0) if waiting and waiting[0] in faults else ""

    def first_byte(self) -> int:
        """The first byte that the client asks for."""
        return int(self.headers["Range"].removeprefix("bytes=").partition("-")[0]) if "Range" in self.headers else 0

    def send_broken(self, fault: str, content: bytes) -> None:
        """Send a content, after its head, with one of the faults in BROKEN."""
        if fault == "slow":
            for start in range(0, len(content), 1 + len(content) // 4):
                time.sleep(0.05)
                self.wfile.write(content[start : start + 1 + len(content) // 4])
            return
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        if fault == "stalled":
            self.server.over.wait(30)
        if fault == "reset":
            # Sends a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Do not log."""


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Answer in a thread within this context."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
