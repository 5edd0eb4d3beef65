"""The report in a real browser: Debian's Chromium, driven by Playwright, judged by axe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from tests.run_directories import completion_row, finished_run, measure, rollout_row, start

from warmstart.report import build_report
from warmstart.results import summary
from warmstart.runs.directory import RunDir

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (make install)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)"),
]

DESKTOP, PHONE = {"width": 1180, "height": 900}, {"width": 390, "height": 844}
HOSTILE = (
    "<reasoning><script>window.hacked = 1</script></script><img src=x onerror='window.hacked = 2'>"
    "<svg onload='window.hacked = 3'> \x00 \u202eright to left\u2066 </textarea></pre><answer>4</answer>"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    """A finished run; its log has the same eight problems in every step, live, solved and failed ones."""
    found = finished_run(tmp_path_factory.mktemp("browser") / "run", problems=60)
    for step in range(1, 7):
        right = [4, 0, *(min(4, 1 + (step + problem) % 4) for problem in range(6))]
        found.write_rollouts(
            step,
            [
                rollout_row(step, problem, sample, right=sample < count, live=0 < count < 4)
                for problem, count in enumerate(right)
                for sample in range(4)
            ],
        )
    finding = {
        "code": "no-format",
        "severity": "ill",
        "evidence": "0 of 512 used the format",
        "advice": "warm start",
    }
    found.write_json(found.probe_path("base"), {"stage": "base", "verdict": "FIX", "findings": [finding]})
    rates = {"format": 0.0, "lenient": 0.5, "live_share": 0.0}
    before, after = {"verdict": "FIX", **rates}, {"verdict": "GO", **rates, "format": 0.9, "live_share": 0.6}
    cures = [
        {"name": "exemplar", "before": before, "after": before},
        {"name": "self-warm-start", "before": before, "after": after},
    ]
    found.write_json(found.cures_path, cures)
    events = [
        {
            "code": "hacking",
            "severity": "ill",
            "evidence": "28 % have several answer blocks",
            "advice": "close the hole",
        }
    ]
    found.append_metrics({"stage": "grpo", "step": 40, "events": events})
    for step in range(1, 81):
        found.append_metrics(
            {
                "stage": "writing",
                "step": step,
                "distinct": 0.9,
                "repeated_tags": step / 100,
                "reasoning_words": 30.0,
            }
        )
    found.append_metrics({"stage": "check", "step": 40, "strict": {"value": 0.8, "ci95": [0.7, 0.9]}})
    found.write_json(found.summary_path, summary.build_summary(found))
    build_report(found.path)
    return found


class Opened:
    """A page that is drawn, and what it complained of, asked for or was tricked into."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, **context})
        self.page = self.context.new_page()
        self.page.set_default_timeout(180_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        if context.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-charts=drawn]")


@pytest.fixture
def opened(browser, run) -> Iterator[Opened]:
    found = Opened(browser, run.report_path)
    yield found
    found.context.close()


def test_no_error_is_logged_and_nothing_but_the_file_is_asked_for(opened, run) -> None:
    assert opened.complaints == []
    assert opened.requests == [run.report_path.as_uri()]


def test_the_drawn_charts_have_the_numbers_of_the_summary(opened, run) -> None:
    facts = run.read_json(run.summary_path)
    for mode in ("greedy", "sampled"):
        bars = opened.page.evaluate(f"document.getElementById('rates-{mode}').data.map(bar => bar.y)")
        for drawn, result in zip(bars, facts["eval"].values(), strict=True):
            assert drawn == pytest.approx(
                [100 * result[mode][name]["value"] for name in ("strict", "lenient", "format")]
            )
    assert opened.page.locator("#rates-greedy .bars .point").count() == 9
    for chart in opened.page.locator(".chart").all():
        assert chart.locator("svg.main-svg").count() >= 1
        assert chart.locator("g[class^=x][class$=tick] text").count() > 1


def test_the_explorer_filters_by_kind_and_by_words(opened) -> None:
    page = opened.page
    status = page.locator("#explorer .status")
    assert status.inner_text() == "60 of 60 problems found"
    page.get_by_label("groups of GRPO").check()
    assert status.inner_text() == "48 of 48 groups found"
    page.locator("#explorer [name=kind]").select_option(label="all fail (6)")
    assert status.inner_text() == "6 of 48 groups found"
    assert {text.split("·")[-1].strip() for text in page.locator(".found small").all_inner_texts()} == {
        "0 of 4 right"
    }
    page.get_by_label("Search").fill("step 3")
    assert status.inner_text() == "1 of 48 groups found"
    page.get_by_label("Search").fill("no such words")
    assert status.inner_text() == "0 of 48 groups found"
    assert "Search for less" in page.locator(".detail").inner_text()


def test_the_explorer_works_by_keyboard_alone(opened) -> None:
    page = opened.page
    page.locator(".found button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    second = page.locator(".found button").nth(1)
    assert second.get_attribute("aria-current") == "true"
    assert page.locator(".detail h3").inner_text() == second.locator("b").inner_text()
    assert page.evaluate("document.activeElement.className") == "detail"


def test_the_same_problem_is_compared_before_and_after_word_by_word(opened) -> None:
    page = opened.page
    page.get_by_label("groups of GRPO").check()
    page.get_by_label("Search").fill("train-3")
    page.locator(".compare summary").click()
    before, after = (page.locator(".compare select").nth(index) for index in (0, 1))
    assert before.evaluate("select => select.selectedOptions[0].label") == "step 1, sample 3: wrong"
    assert after.evaluate("select => select.selectedOptions[0].label") == "step 6, sample 0, 1, 2, 3: correct"
    assert page.locator(".diff del").all_inner_texts() == ["5"]
    assert page.locator(".diff ins").all_inner_texts() == ["4"]


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE + "x" * 100_000], ids=["short", "100 kB"])
def test_a_hostile_completion_shows_as_text(browser, tmp_path, text) -> None:
    run = start(tmp_path / "run", name=text[:300])
    changes = {"text": text, "question": text, "gold": text, "family": text, "why_not_strict": text}
    for stage in ("base", "grpo"):
        measure(run, stage, [completion_row(index, **changes) for index in range(3)])
    hostile = {
        "text": text,
        "question": text,
        "gold": text,
        "given": text,
        "stage": text[:50],
        "why_not_strict": text,
    }
    rewards = {"rewards": {text[:60]: 1.0}}
    run.write_rollouts(1, [rollout_row(1, 0, sample, **hostile, **rewards) for sample in range(2)])
    run.append_metrics({"stage": "grpo", "step": 1, "reward": 0.5, "rewards": {text[:60]: 1.0}})
    event = {"code": text[:90], "severity": "ill", "evidence": text, "advice": text}
    run.append_metrics({"stage": "grpo", "step": 1, "events": [event]})
    opened = Opened(browser, build_report(run.path))
    page = opened.page
    for source in ("held-out problems", "groups of GRPO"):
        page.get_by_label(source).check()
        page.locator(".compare summary").click() if page.locator(".compare summary").count() else None
        shown = page.locator(".detail .completion pre").first.inner_text()
        assert shown.startswith("<reasoning><script>window.hacked = 1</script></script><img src=x")
        assert "␀ [U+202E]right to left[U+2066] </textarea></pre><answer>4</answer>" in shown
        assert len(shown) < 5_000
    page.mouse.move(600, 500)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, svg[onload], iframe").count() == 0
    assert opened.complaints == []
    assert len(opened.requests) == 1
    opened.context.close()


@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_no_serious_violation(browser, run, scheme, viewport) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe is not installed (make install)")
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    opened = Opened(browser, run.report_path, color_scheme=scheme, viewport=viewport, bypass_csp=True)
    opened.page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    opened.page.evaluate(axe)
    found = opened.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    opened.context.close()
    serious = [
        (one["id"], one["impact"], [node["html"][:150] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == [], json.dumps(serious, indent=1)


def test_a_phone_scrolls_in_one_direction_only(browser, run) -> None:
    opened = Opened(browser, run.report_path, viewport=PHONE)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    opened.context.close()


def test_text_of_charts_is_light_in_the_dark_and_dark_in_the_light(browser, run) -> None:
    for scheme, colour in (("light", "rgb(25, 28, 33)"), ("dark", "rgb(230, 232, 235)")):
        opened = Opened(browser, run.report_path, color_scheme=scheme)
        fills = opened.page.evaluate(
            "[...document.querySelectorAll('.chart g[class$=tick] text, .chart text[class$=title], .chart text[class^=legend]')].map(t => getComputedStyle(t).fill)"
        )
        assert set(fills) == {colour}
        opened.context.close()


def test_in_print_charts_keep_within_the_paper(opened) -> None:
    opened.page.emulate_media(media="print")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    opened.page.wait_for_timeout(500)
    widths = opened.page.evaluate(
        "[...document.querySelectorAll('.chart svg.main-svg')].map(svg => svg.getBoundingClientRect().width)"
    )
    assert max(widths) <= 700
    assert len(opened.page.pdf(format="A4")) > 10_000


def test_without_javascript_the_numbers_and_the_texts_are_there(browser, run) -> None:
    opened = Opened(browser, run.report_path, java_script_enabled=False)
    text = opened.page.locator("body").inner_text()
    assert run.read_json(run.summary_path)["headline"] in text.replace("\u00a0", " ")
    assert "The charts need JavaScript" in text
    assert not opened.page.locator("#explorer").is_visible()
    assert opened.page.locator("article.sample pre").first.is_visible()
    opened.context.close()


def test_a_run_that_was_stopped_by_its_probe_has_a_page_without_error(browser, tmp_path) -> None:
    run = start(tmp_path / "run")
    finding = {
        "code": "too-hard",
        "severity": "ill",
        "evidence": "0 of 512 completions are right",
        "advice": "take easier problems",
    }
    run.write_json(run.probe_path("base"), {"stage": "base", "verdict": "STOP", "findings": [finding]})
    opened = Opened(browser, build_report(run.path))
    assert opened.complaints == []
    story = opened.page.locator(".story").inner_text().replace("\u00a0", " ")
    assert "STOP: 0 of 512 completions are right" in story
    headline = opened.page.locator("h1").inner_text().replace("\u00a0", " ")
    assert headline == "STOP: too-hard: 0 of 512 completions are right; take easier problems."
    assert opened.page.locator("#explorer").count() == 0
    opened.context.close()
