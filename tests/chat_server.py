"""A small real HTTP server that speaks OpenAI's chat completions, for tests."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, Any] | bytes]


@dataclass
class ChatServer:
    """What the server was asked, and where it is."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def sums(body: dict[str, Any]) -> Reply:
    """Answers "a + b" in the format; what is sampled with an odd seed is off by one."""
    first, second = map(int, re.findall(r"\d+", body["messages"][-1]["content"])[-2:])
    total = first + second + (body["temperature"] > 0 and body["seed"] % 2)
    return completion(f"<reasoning>\nadd\n</reasoning>\n<answer>\n{total}\n</answer>")


def completion(text: str, why: str = "stop", tokens: int = 11) -> Reply:
    return 200, {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": why}],
        "usage": {"completion_tokens": tokens},
    }


@contextmanager
def chat_server(
    reply: Callable[[dict[str, Any]], Reply] = sums, models: tuple[str, ...] = ("served",)
) -> Iterator[ChatServer]:
    """Yield a running server whose completions are what ``reply`` makes of the request."""
    seen, lock = ChatServer(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.send(200, {"data": [{"id": name} for name in models]} if self.path == "/v1/models" else {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            with lock:
                seen.asked.append(body)
                seen.headers.append(dict(self.headers))
            self.send(*reply(body))

        def send(self, status: int, content: dict[str, Any] | bytes) -> None:
            payload = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
