"""The page: the numbers of summary.json, every text harmless, nothing from outside, whatever is missing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from tests.run_directories import (
    completion_row,
    eval_rows,
    finished_run,
    grpo_metrics,
    measure,
    sft_metrics,
    start,
)

from warmstart.data.overlap import find_overlap
from warmstart.errors import RunDirError
from warmstart.records import Problem
from warmstart.report import build_report
from warmstart.report.page import MAX_BYTES
from warmstart.report.samples import choose_samples
from warmstart.report.text import duration, unbroken
from warmstart.report.writing import tricks_chart
from warmstart.runs.directory import RunDir
from warmstart.visible import segments, shortened, tag_names, visible

HOSTILE = (
    "<script>alert(1)</script></script><img src=x onerror=alert(2)> <!-- --> {{ 7*7 }} ]]> \x00 \x1b[31m "
    "\u202eright to left\u2066\u200b &lt;b&gt; </pre></textarea><style>*{display:none}</style>"
)
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of the page: elements, the text people see, the scripts' contents."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.path = path
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def charts(self) -> dict[str, dict]:
        found = (script for script in self.scripts if script[0].get("class") == "chart-data")
        return {attributes["data-chart"]: json.loads(content) for attributes, content in found}

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunDir:
    run = finished_run(tmp_path_factory.mktemp("run"))
    build_report(run.path)
    return run


@pytest.fixture(scope="module")
def page(finished) -> Page:
    return Page(finished.report_path)


def test_the_report_is_one_file_in_the_run_directory_within_the_size_limit(finished) -> None:
    assert build_report(finished.path) == finished.path / "report.html"
    assert finished.report_path.stat().st_size <= MAX_BYTES


def test_every_element_is_closed(page) -> None:
    assert page.open == []


def test_the_page_says_the_headline_of_the_summary(finished, page) -> None:
    summary = finished.read_json(finished.summary_path)
    assert summary["headline"] in page.text.replace("\u00a0", " ")


def test_the_tables_hold_the_rates_of_the_summary_with_their_intervals(finished, page) -> None:
    for result in finished.read_json(finished.summary_path)["eval"].values():
        for mode in ("greedy", "sampled"):
            for measure_name in ("strict", "lenient", "format"):
                rate = result[mode][measure_name]
                low, high = (100 * end for end in rate["ci95"])
                if 0 < rate["value"] < 1:
                    assert f"{100 * rate['value']:.1f} % [{low:.1f}, {high:.1f}]" in page.text
                else:
                    assert f"{'0 of' if rate['value'] == 0 else 'all'} 120 " in page.text


def test_none_of_the_problems_is_a_bound_and_never_zero_per_cent(page) -> None:
    assert "0 of 120 < 3.2 %" in page.text
    assert " 0.0 %" not in page.text


def test_the_bars_have_the_rates_and_intervals_of_the_summary(finished, page) -> None:
    summary = finished.read_json(finished.summary_path)
    for mode in ("greedy", "sampled"):
        bars = page.charts()[f"rates-{mode}"]["data"]
        for bar, result in zip(bars, summary["eval"].values(), strict=True):
            rates = [result[mode][name] for name in bar["x"]]
            assert bar["y"] == pytest.approx([100 * rate["value"] for rate in rates])
            tops = [y + above for y, above in zip(bar["y"], bar["error_y"]["array"], strict=True)]
            assert tops == pytest.approx([100 * rate["ci95"][1] for rate in rates])


def test_the_paired_tests_of_the_summary_are_on_the_page(finished, page) -> None:
    for test in finished.read_json(finished.summary_path)["paired"]:
        change = f"{100 * test['difference']:+.1f}".replace("-", "−")
        low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in test["ci95"])
        said = f"{change} [{low}, {high}] p " if float(change.replace("−", "-")) else "0.0 ["
        assert said in page.text


def test_every_chart_has_axes_a_sentence_and_its_numbers(page) -> None:
    charts = page.charts()
    assert set(charts) == {
        "rates-greedy", "rates-sampled", "timeline", "heat-groups", "grpo-grad-norm", "grpo-length",
        "grpo-truncated", "grpo-entropy", "sft-loss", "time",
    }  # fmt: skip
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name, chart in charts.items():
        assert name == "time" or any(
            axis.get("title", {}).get("text")
            for key, axis in chart["layout"].items()
            if key.startswith("yaxis")
        )
        assert {f"{name}-title", f"{name}-text"} <= set(ids)
    assert page.text.count("Numbers of “") == len(charts)


def traces(page: Page) -> dict[str, dict]:
    return {trace["name"]: trace for trace in page.charts()["timeline"]["data"] if trace.get("name")}


def test_the_curves_are_those_of_the_metrics(page) -> None:
    steps = grpo_metrics()
    by_name = traces(page)
    assert by_name["total"]["customdata"] == [step["step"] for step in steps]
    # Each point is the mean of two steps for a run of 80.
    means = [steps[0]["reward"]] + [(a["reward"] + b["reward"]) / 2 for a, b in pairwise(steps)]
    assert by_name["total"]["y"] == pytest.approx(means)
    parts = {"easy", "xmlcount", "int", "soft_format", "strict_format", "correctness"}
    assert parts <= set(by_name)
    shares = [by_name[name]["y"] for name in ("live", "dead: all fail", "dead: all pass")]
    assert [sum(at) for at in zip(*shares, strict=True)] == pytest.approx([100] * 80)


def test_stages_steps_and_measurements_lie_on_one_axis_of_running_time(finished, page) -> None:
    # data 0.4 s, base 21.5 s, SFT 9.1 s, measured 21.5 s: GRPO runs from 52.5 s to 170.5 s in 80 equal steps.
    by_name = traces(page)
    assert by_name["total"]["x"][0] == pytest.approx((52.5 + 118 / 80) / 60)
    assert by_name["total"]["x"][-1] == pytest.approx(170.5 / 60)
    bars = {bar["text"][0]: bar for bar in page.charts()["timeline"]["data"] if bar["type"] == "bar"}
    assert bars["GRPO"]["base"] == pytest.approx(52.5 / 60)
    assert bars["GRPO"]["x"] == pytest.approx([118 / 60])
    held_out = [t for t in page.charts()["timeline"]["data"] if t.get("name") == "held out, greedy"]
    summary = finished.read_json(finished.summary_path)
    assert [trace["y"][0] for trace in held_out] == pytest.approx(
        [100 * result["greedy"]["strict"]["value"] for result in summary["eval"].values()]
    )
    assert [trace["x"][0] for trace in held_out] == pytest.approx([21.9 / 60, 52.5 / 60, 192 / 60])


def test_nothing_is_loaded_from_anywhere(page) -> None:
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "audio", "video"}
        assert not {"src", "srcset", "data", "action", "poster", "background"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    styles = page.path.read_text("utf-8").split("<style>")[1].split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_policy_allows_the_pages_own_scripts_only(page) -> None:
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    code = [content for attributes, content in page.scripts if "type" not in attributes]
    assert len(code) == 1
    packed = next(content for attributes, content in page.scripts if attributes.get("id") == "chart-library")
    for content in (code[0].encode(), gzip.decompress(base64.b64decode(packed))):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_tables_have_captions_and_heads_and_the_headings_go_down_by_one(page) -> None:
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(attributes.get("scope") for attributes in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"


def test_twelve_problems_are_shown_before_and_after(page) -> None:
    assert len([a for a in page.all("article") if a.get("class") == "sample"]) == 12
    sections = [a for a in page.all("section") if (a.get("class") or "").startswith("completion")]
    assert len(sections) == 36
    assert "lost by GRPO" in page.text
    assert {"tag reasoning", "tag answer"} <= {a.get("class") for a in page.all("span")}


def test_cost_overlap_settings_versions_and_the_command_are_there(finished, page) -> None:
    assert "1 min 58 s" in page.text
    assert "631,000" in page.text
    assert "Of 120 held-out problems, those that share text" in page.text
    assert "eight words in a row2" in page.text
    assert "each 6 pears break how many are left" in page.text
    assert "warmstart run recipe.yaml --out again" in page.text
    assert "2.13.0" in page.text
    settings = next(text for text in page.words if text.startswith("name: tiny\nseed: 7\nmodel:"))
    assert yaml.safe_load(settings) == finished.read_json(finished.resolved_path)


def test_the_overlap_shown_is_what_the_overlap_check_writes(tmp_path) -> None:
    same = Problem("a", "How many pears are left in the two boxes?", "1")
    found = find_overlap([same], [same, Problem("b", "Why?", "2")])
    run = start(tmp_path)
    run.write_json(run.overlap_path, found.to_dict())
    page = Page(build_report(run.path))
    assert "the whole question, to the letter1" in page.text
    assert "eight words in a row1" in page.text


def hostile_run(path: Path, text: str) -> RunDir:
    run = start(path, name=text)
    changes = {"text": text, "question": text, "gold": text, "family": text, "why_not_strict": text}
    for stage in ("base", "grpo"):
        measure(
            run, stage, [completion_row(index, problem_id=f"{text}{index}", **changes) for index in range(20)]
        )
    run.append_metrics({"stage": "grpo", "step": 1, "reward": 0.5, "rewards": {text: 1.0}})
    pair = {"eval_id": text, "train_id": text, "shared": text}
    run.write_json(
        run.overlap_path, {"eval_problems": 20, "exact": 1, "normalised": 1, "ngram": 1, "pairs": [pair] * 30}
    )
    run.write_json(run.environment_path, {"versions": {text: text}, "platform": text})
    return run


def test_a_hostile_completion_is_text(tmp_path) -> None:
    page = Page(build_report(hostile_run(tmp_path, HOSTILE).path))
    assert page.open == []
    assert not page.all("img")
    assert len(page.all("style")) == 1
    assert len([1 for attributes, _ in page.scripts if "type" not in attributes]) == 1
    assert "<script>alert(1)</script></script><img src=x onerror=alert(2)> <!-- --> {{ 7*7 }}" in page.text
    assert "␀ ␛[31m [U+202E]right to left[U+2066][U+200B] &lt;b&gt;" in page.text
    raw = page.path.read_text("utf-8")
    assert not set(raw) & set("\x00\x1b\u202e\u2066\u200b")


def test_a_completion_without_end_is_cut_in_the_middle_and_says_so(tmp_path) -> None:
    page = Page(build_report(hostile_run(tmp_path, "<b>" + "x" * 100_000 + "THE END").path))
    assert "[… 90,010 characters left out …]" in page.text
    assert "THE END" in page.text


@pytest.mark.parametrize("character", ["x", "<", "\u202e", "漢", "\x00"])
def test_the_page_stays_within_its_size_whatever_the_models_wrote(tmp_path, character) -> None:
    assert build_report(hostile_run(tmp_path, character * 100_000).path).stat().st_size <= MAX_BYTES


def test_a_long_run_stays_within_the_size_limit(tmp_path) -> None:
    run = start(tmp_path)
    lines = [line | {"step": step + 1} for step, line in enumerate(grpo_metrics(50) * 120)]
    run.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        row | {"text": "é" * 20_000, "question": "ß" * 5000, "family": f"family {index}"}
        for index, row in enumerate(eval_rows("base", problems=60, samples=1))
    ]
    for stage in ("base", "warmup", "grpo"):
        measure(run, stage, rows)
    assert build_report(run.path).stat().st_size <= MAX_BYTES


def test_a_run_in_which_nothing_has_happened_has_a_page(tmp_path) -> None:
    page = Page(build_report(start(tmp_path).path))
    assert page.open == []
    assert "Nothing has been measured yet." in page.text
    assert "Still to do: data, eval-base, sft, eval-warmup, grpo, eval-grpo." in page.text
    assert "GRPO has recorded no step yet." in page.text
    assert page.charts() == {}


def test_signs_of_hacking_have_a_chart_where_seen_and_a_line_where_named() -> None:
    lines = [{"step": step, "repeated_tags": step / 100, "copied": 0.0} for step in range(1, 41)]
    named = [
        {"step": 30, "code": "hacking", "severity": "ill"},
        {"step": 34, "code": "hacking", "severity": "stop"},
    ]
    chart = tricks_chart(lines, [*named, {"step": 2, "code": "few-live", "severity": "ill"}])
    assert chart is not None
    assert [trace["name"] for trace in chart.figure["data"]] == ["a tag more than once"]
    assert [shape["x0"] for shape in chart.figure["layout"]["shapes"]] == [30]
    assert "reasoning of another problem" in chart.text.split("Never seen: ")[1]
    assert chart.text.endswith("The watch named it at step 30 (dotted).")
    assert tricks_chart([line | {"repeated_tags": 0.0} for line in lines], []) is None


def test_a_run_that_is_still_training_shows_what_there_is(tmp_path) -> None:
    run = start(tmp_path)
    run.finish_stage("data", {"wall_s": 1.0})
    measure(run, "base", eval_rows("base", problems=20))
    for line in sft_metrics(3):
        run.append_metrics(line)
    page = Page(build_report(run.path))
    assert "This run is not finished. Still to do: sft, eval-warmup, grpo, eval-grpo." in page.text
    assert "sft-loss" in page.charts()
    assert "Paired tests" not in page.text


def test_without_sft_no_warm_up_is_missed(tmp_path) -> None:
    run = start(tmp_path, sft={"enabled": False})
    for stage in ("base", "grpo"):
        measure(
            run, stage, [row for row in eval_rows(stage, problems=20, samples=0) if row["split"] == "eval"]
        )
    page = Page(build_report(run.path))
    assert "Still to do: data, grpo." in page.text
    assert "after SFT" not in page.text
    assert "base → after GRPO" in page.text
    assert "rates-sampled" not in page.charts()


def test_metrics_that_were_not_recorded_or_not_finite_leave_gaps(tmp_path) -> None:
    run = start(tmp_path)
    for step, norm in enumerate([0.5, float("nan"), 0.7], start=1):
        run.append_metrics({"stage": "grpo", "step": step, "grad_norm": norm})
    charts = Page(build_report(run.path)).charts()
    assert list(charts) == ["timeline", "grpo-grad-norm"]
    assert charts["grpo-grad-norm"]["data"][0]["y"] == [0.5, None, 0.7]


def test_what_is_no_run_has_no_report(tmp_path) -> None:
    with pytest.raises(RunDirError, match="not a run directory"):
        build_report(tmp_path)


def test_the_report_never_imports_torch(finished) -> None:
    code = (
        "import sys; sys.argv = ['warmstart', 'report', sys.argv[1]]; from warmstart.cli import app"
        "\ntry: app()\nexcept SystemExit as end: assert not end.code"
        "\nassert not {'torch', 'trl', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(finished.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def of_level(index: int, level: str) -> dict:
    return completion_row(index, strict=level == "2", right=level == "1")


def samples_of(*paths: str) -> tuple[dict[str, tuple[int, int]], list]:
    """Problems by how they went at base, after SFT, after GRPO: 0 wrong, 1 right, 2 right and in the format."""
    stages = ("base", "warmup", "grpo")
    rows = {
        stage: [of_level(index, path[at]) for index, path in enumerate(paths)]
        for at, stage in enumerate(stages)
    }
    kinds, samples = choose_samples(rows, {"reasoning": "reasoning", "answer": "answer"})
    return {kind.name: (kind.problems, kind.shown) for kind in kinds}, samples


def test_problems_are_named_after_the_last_stage_that_changed_them() -> None:
    kinds, samples = samples_of("002", "122", "222", "000", "220", "200", "202", "020")
    assert kinds == {
        "gained by GRPO": (2, 2),
        "lost by GRPO": (2, 2),
        "gained by SFT": (1, 1),
        "lost by SFT": (1, 1),
        "never right": (1, 1),
        "right all along": (1, 1),
    }
    assert len(samples) == 8


def test_an_answer_that_the_base_knew_and_training_unlearnt_is_lost_though_it_never_was_in_the_format() -> (
    None
):
    assert samples_of("100")[0] == {"lost by SFT": (1, 1)}
    assert samples_of("110")[0] == {"lost by GRPO": (1, 1)}
    assert samples_of("121")[0] == {"lost by GRPO": (1, 1)}


def test_right_answers_that_never_were_in_the_format_are_a_kind_of_their_own() -> None:
    assert samples_of("011", "111", "101")[0] == {"right, never in the format": (3, 3)}


def test_a_result_that_could_not_be_told_is_no_loss() -> None:
    untold = completion_row(0, formatted=True, verdict="undecided", lenient_verdict="undecided")
    rows = {"base": [completion_row(0, right=True)], "grpo": [untold]}
    kinds, _ = choose_samples(rows, {"reasoning": "reasoning", "answer": "answer"})
    assert [kind.name for kind in kinds] == ["could not be told"]


def test_losses_and_failures_are_shown_however_many_gains_there_are() -> None:
    kinds, samples = samples_of(*["022"] * 200, *["002"] * 50, "020", "000")
    assert len(samples) == 12
    assert kinds["lost by GRPO"] == (1, 1)
    assert kinds["never right"] == (1, 1)
    assert kinds["gained by GRPO"][1] == kinds["gained by SFT"][1] == 5


def test_the_same_problems_are_chosen_every_time_and_not_just_the_first() -> None:
    first = [sample.problem_id for sample in samples_of(*["022"] * 200)[1]]
    assert first == [sample.problem_id for sample in samples_of(*["022"] * 200)[1]]
    assert first != sorted(first)


def test_only_problems_of_every_stage_are_compared() -> None:
    rows = {"base": [completion_row(0), completion_row(1)], "grpo": [completion_row(1, strict=True)]}
    kinds, samples = choose_samples(rows, {"reasoning": "reasoning", "answer": "answer"})
    assert [kind.name for kind in kinds] == ["gained by GRPO"]
    assert samples[0].problem_id == "eval-0001"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strict": True}, "right, in the exact format"),
        ({"right": True}, "right, but not in the exact format"),
        ({"formatted": True}, "wrong, in the exact format"),
        ({"lenient_verdict": "no_answer"}, "no answer"),
        ({"lenient_verdict": "undecided"}, "could not be told"),
    ],
)
def test_a_completion_says_what_became_of_it(changes, words) -> None:
    _, samples = choose_samples(
        {"base": [completion_row(0, **changes)]}, {"reasoning": "reasoning", "answer": "answer"}
    )
    assert samples[0].completions[0].verdict == words


def test_invisible_characters_are_spelt_out_and_others_stay() -> None:
    assert visible("a\x00b\u202ec\ud800\r\n\t😀é") == "a␀b[U+202E]c[U+D800]␍\n\t😀é"


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    assert shortened("a" * 50 + "z", 10, 1) == "a" * 10 + "\n[… 40 characters left out …]\nz"
    assert shortened("a" * 11, 10, 1) == "a" * 11
    assert shortened("abc", 1) == "a\n[… 2 characters left out …]\n"


def test_tags_are_cut_out_by_their_own_names() -> None:
    names = tag_names({"prompt": {"reasoning_tag": "think", "answer_tag": "answer"}})
    assert segments("<think>a</think><b>", names) == [
        ("reasoning", "<think>"),
        ("", "a"),
        ("reasoning", "</think>"),
        ("", "<b>"),
    ]
    assert tag_names({}) == {"reasoning": "reasoning", "answer": "answer"}


def test_no_line_ends_between_a_number_and_its_unit() -> None:
    assert unbroken("a 0 of 9 (< 1 %) p = 0.5, b").replace("\u00a0", "_") == "a 0_of_9 (<_1_%) p_=_0.5, b"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.42, "0.4 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_times_are_said_as_people_say_them(seconds, words) -> None:
    assert duration(seconds) == words
