"""A server is asked, over real HTTP."""

from __future__ import annotations

import itertools

import pytest
from tests.chat_server import chat_server, completion

from warmstart.errors import ConfigError, ModelError
from warmstart.evaluation import Served, Wanted, evaluate
from warmstart.probing.probe import ProbeSettings, probe
from warmstart.records import Problem
from warmstart.rewards.functions import correctness_reward_func
from warmstart.rollouts import server as servers
from warmstart.rollouts.server import Server
from warmstart.tags import DEFAULT_TAGS

PROBLEMS = {"eval": [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(20)]}
WANTED = Wanted(samples=2, temperature=1.0, top_p=0.9, max_tokens=64, batch_size=16, seed=0)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch) -> None:
    monkeypatch.setattr(servers, "_PAUSE_S", 0.0)


def ask(server: Server):
    return server.complete(
        [{"role": "user", "content": "1 + 1"}], temperature=0.0, top_p=1.0, max_tokens=8, seed=1
    )


def test_a_served_model_is_measured_as_one_in_this_process_is() -> None:
    with chat_server() as there:
        server = Server.at(there.url, None)
        rows = evaluate(Served(server, DEFAULT_TAGS, "Answer in tags."), PROBLEMS, WANTED)
    assert server.model == "served"
    assert [row["strict"] for row in rows if row["mode"] == "greedy"] == [True] * 20
    sampled = [row["strict"] for row in rows if row["mode"] == "sampled"]
    assert 0.2 < sum(sampled) / len(sampled) < 0.8
    assert {(row["tokens"], row["finished"], row["truncated"]) for row in rows} == {(11, True, False)}
    body = next(body for body in there.asked if body["temperature"] == 1.0)
    assert (body["model"], body["top_p"], body["max_tokens"]) == ("served", 0.9, 64)
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
    assert len({body["seed"] for body in there.asked if body["temperature"] == 1.0}) == 40


def test_the_same_evaluation_asks_with_the_same_seeds() -> None:
    seeds = []
    for _ in range(2):
        with chat_server() as there:
            evaluate(Served(Server.at(there.url, "m"), DEFAULT_TAGS, ""), PROBLEMS, WANTED)
            seeds.append(sorted(body["seed"] for body in there.asked))
    assert seeds[0] == seeds[1]


def test_an_example_and_a_prefill_are_part_of_the_asking() -> None:
    with chat_server(lambda body: completion("add\n</reasoning>\n<answer>\n2\n</answer>")) as there:
        served = Served(
            Server.at(there.url, "m"),
            DEFAULT_TAGS,
            "Tags.",
            role="user",
            exemplar=("Q", "A"),
            prefill="<reasoning>\n",
        )
        rows = evaluate(served, {"eval": [Problem("p", "1 + 1", "2")]}, WANTED)
    assert all(row["strict"] for row in rows)
    assert there.asked[0]["messages"] == [
        {"role": "user", "content": "Tags.\n\nQ"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "1 + 1"},
    ]


def test_a_cut_completion_is_truncated_and_one_that_was_filtered_is_neither() -> None:
    with chat_server(lambda body: completion("12", "length")) as there:
        cut = ask(Server.at(there.url, "m"))
    with chat_server(lambda body: completion("12", "content_filter")) as there:
        filtered = ask(Server.at(there.url, "m"))
    assert (cut.is_finished, cut.is_truncated) == (False, True)
    assert (filtered.is_finished, filtered.is_truncated) == (False, False)


def test_a_busy_server_is_asked_again() -> None:
    replies = itertools.chain([(503, {}), (429, {})], itertools.repeat(completion("7")))
    with chat_server(lambda body: next(replies)) as there:
        assert ask(Server.at(there.url, "m")).text == "7"
    assert len(there.asked) == 3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((404, {"error": "no model m"}), r"refused: 404 .*no model m"),
        ((302, b""), r"refused: 302"),
        ((200, b"<html>"), "did not answer in JSON"),
        ((200, b"[1]"), "answered with a list"),
        ((200, {"choices": []}), "without a completion"),
        ((503, b"down"), r"did not answer in 6 tries: 503 .*down"),
    ],
    ids=["refused", "redirected", "a page", "a list", "empty", "down"],
)
def test_what_a_server_does_wrong_is_said_in_its_words(reply, message) -> None:
    with chat_server(lambda body: reply) as there, pytest.raises(ModelError, match=message):
        ask(Server.at(there.url, "m"))


def test_a_server_that_is_not_there_is_given_up_with_what_to_do() -> None:
    with chat_server() as there:
        url = there.url
    with pytest.raises(ModelError, match="did not answer in 6 tries") as caught:
        ask(Server.at(url, "m"))
    assert "goes on where it stopped" in caught.value.hint


def test_of_several_served_models_one_must_be_named() -> None:
    with chat_server(models=("a", "b")) as there, pytest.raises(ModelError, match="serves 2 models: a, b"):
        Server.at(there.url, None)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", "http://"])
def test_only_addresses_of_the_web_are_asked(url) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        Server.at(url, "m")


def test_the_key_goes_to_the_server_and_none_is_sent_unasked() -> None:
    with chat_server(lambda body: completion("7")) as there:
        ask(Server.at(f"{there.url}/v1/", "m", key="secret"))
        ask(Server.at(there.url, "m"))
    assert [headers.get("Authorization") for headers in there.headers] == ["Bearer secret", None]


def test_a_served_model_is_probed_without_its_weights() -> None:
    rows = [
        {"prompt": [{"role": "user", "content": problem.question}], "answer": problem.gold}
        for problem in PROBLEMS["eval"][:8]
    ]
    with chat_server() as there:
        found = probe(
            Server.at(there.url, "m"),
            None,
            rows,
            [correctness_reward_func],
            settings=ProbeSettings(problems=8, completions=4, temperature=1.0),
        )
    assert found.facts.entropy is None
    assert "not-a-number" not in [finding["code"] for finding in found.to_dict()["findings"]]
    assert found.facts.rewards_P_K_R.shape == (8, 4, 1)
    assert 0.2 < found.to_dict()["rates"]["strict"]["value"] < 0.8
    assert len({body["seed"] for body in there.asked}) == 32


def test_a_server_is_probed_with_conversations_alone() -> None:
    with chat_server() as there, pytest.raises(ValueError, match="conversations"):
        probe(
            Server.at(there.url, "m"), None, [{"prompt": "1 + 1", "answer": "2"}], [correctness_reward_func]
        )
