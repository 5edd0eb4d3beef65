"""Completions from an OpenAI-compatible server: vLLM, SGLang, llama.cpp, a hosted one.

One request per completion, each with a seed of its own, a few at a time. What passes (a busy or restarting
server) is tried again; what does not is an error in the server's own words.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from warmstart import ranks
from warmstart.errors import ConfigError, ModelError
from warmstart.rollouts.transformers import Completion

TRIES = 6
"""How often a request is made before the server is given up."""
_PAUSE_S = 0.5
"""Seconds before the second try; each further pause is twice as long."""
_LONGEST_PAUSE_S = 30.0
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_SHOWN = 300
AT_ONCE = 16
"""Requests that are open at a time."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that speaks OpenAI's chat completions.

    Attributes:
        url: Its address, with or without the closing ``/v1``.
        model: The name it serves the model under.
        key: Sent as a bearer token, to this address alone; None sends none.
        timeout_s: Longest wait for one completion.
    """

    url: str
    model: str
    key: str | None = None
    timeout_s: float = 600.0

    @classmethod
    def at(cls, url: str, model: str | None, *, key: str | None = None) -> Server:
        """Return the server at ``url``; without a model name the only one it serves.

        Raises:
            ConfigError: If the address is not http or https.
            ModelError: If it does not answer, or serves several models and none is named.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(
                f"--server {url!r} is no address", "give it as http://HOST:PORT/v1, the way vLLM prints it"
            )
        base = url.rstrip("/")
        server = cls(base if base.endswith("/v1") else f"{base}/v1", model or "", key)
        if model is not None:
            return server
        served = [str(one.get("id")) for one in server._ask("models", None).get("data", [])]
        if len(served) != 1:
            raise ModelError(
                f"{server.url} serves {len(served)} models: {', '.join(served[:10]) or 'none'}",
                "name one with --model",
            )
        return cls(server.url, served[0], key)

    def complete(
        self, messages: list[dict[str, str]], *, temperature: float, top_p: float, max_tokens: int, seed: int
    ) -> Completion:
        """Return one completion of a conversation.

        Raises:
            ModelError: If the server refuses, stays silent, or answers in another form.
        """
        answer = self._ask(
            "chat/completions",
            {
                "model": self.model,
                "messages": messages,
                "temperature": temperature,
                "top_p": top_p,
                "max_tokens": max_tokens,
                "seed": seed,
            },
        )
        try:
            choice = answer["choices"][0]
            text, why = choice["message"].get("content") or "", choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{self.url} answered without a completion: {json.dumps(answer)[:_SHOWN]}",
                "is it an OpenAI-compatible chat server?",
            ) from error
        tokens = (answer.get("usage") or {}).get("completion_tokens") or 0
        nan = float("nan")
        return Completion(str(text), (), int(tokens), why == "stop", nan, nan, is_truncated=why == "length")

    def _ask(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}/{path}", headers={"Content-Type": "application/json"})
        if self.key is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        if body is not None:
            request.data = json.dumps(body).encode()
        pause = _PAUSE_S
        for attempt in range(1, TRIES + 1):
            try:
                with _OPENER.open(request, timeout=self.timeout_s) as response:
                    return _parsed(response.read(), self.url)
            except urllib.error.HTTPError as error:
                why = f"{error.code} {error.reason}: {error.read(_SHOWN).decode(errors='replace')}"
                if error.code not in _PASSING:
                    raise ModelError(
                        f"{self.url} refused: {why}", "check --server, --model and --key-env"
                    ) from error
            except (OSError, http.client.HTTPException) as error:
                why = str(getattr(error, "reason", error)) or type(error).__name__
            if attempt < TRIES:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise ModelError(
            f"{self.url} did not answer in {TRIES} tries: {why}",
            "is the server running, and is the address right? The same command goes on where it stopped",
        )


def sample(
    server: Server,
    conversations: Sequence[list[dict[str, str]]],
    *,
    samples: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    keys: Sequence[int] | None = None,
    at_once: int = AT_ONCE,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Completion]]:
    """Return ``samples`` completions of each conversation; in a run of several processes the main one asks.

    Args:
        server: Who is asked.
        conversations: Messages, in the server's own chat template.
        samples: Completions of each.
        temperature: Of the sampling.
        top_p: Of the sampling.
        max_tokens: The cap.
        seed: Each request has a seed of its own, of this one, key and sample.
        keys: What stands for each conversation in it; by default its index.
        at_once: Requests that are open at a time.
        on_progress: Called for every completion.

    Raises:
        ModelError: As `Server.complete` does.
    """

    def ask(key: int, messages: list[dict[str, str]], number: int) -> Completion:
        completion = server.complete(
            messages,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=_request_seed(seed, key, number),
        )
        if on_progress is not None:
            on_progress(1)
        return completion

    def ask_all() -> list[list[Completion]]:
        with ThreadPoolExecutor(at_once) as pool:
            asked = [
                [pool.submit(ask, key, messages, number) for number in range(samples)]
                for key, messages in zip(
                    range(len(conversations)) if keys is None else keys, conversations, strict=True
                )
            ]
            try:
                return [[future.result() for future in group] for group in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    return ranks.from_main(ask_all)


def _request_seed(seed: int, key: int, number: int) -> int:
    digest = hashlib.blake2b(repr((seed, key, number)).encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1  # Servers take a signed 32-bit number.


def _parsed(content: bytes, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise ModelError(
            f"{url} did not answer in JSON: {error}", "is it an OpenAI-compatible server?"
        ) from error
    if not isinstance(answer, dict):
        raise ModelError(
            f"{url} answered with a {type(answer).__name__}", "is it an OpenAI-compatible server?"
        )
    return answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the problems, or the key, to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
