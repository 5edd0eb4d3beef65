"""Pictures of a run's report for the documents: light, dark and as wide as a phone.

    python scripts/report_pictures.py RUN [--out docs]

Needs Debian's Chromium (``apt-get install chromium``) and the dev dependencies.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SHOTS = {
    "report-light": ("light", 1180, 1180, None),
    "report-course-dark": ("dark", 1180, 1060, "#course"),
    "report-explorer-light": ("light", 1180, 860, "#explore"),
    "report-phone": ("light", 390, 1500, None),
}
"""By the name of the file: colours, width and height in pixels, and the part of the page, its top without one."""


def main() -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="a run directory with its report.html")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no Chromium: apt-get install chromium", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (colours, width, height, part) in SHOTS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=colours, reduced_motion="reduce"
            )
            page = context.new_page()
            page.set_default_timeout(300_000)
            page.goto((arguments.run / "report.html").resolve().as_uri())
            page.wait_for_selector("html[data-charts=drawn]")
            if part is not None:
                page.locator(part).evaluate("section => section.scrollIntoView()")
                page.wait_for_timeout(200)
            path = arguments.out / f"{name}.png"
            page.screenshot(path=path)
            print(path, path.stat().st_size)
            context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
