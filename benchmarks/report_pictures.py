"""Makes the pictures of docs/report.md and README.md: pages of finished runs, opened in Chromium, and drawn on.

No picture shows images of MNIST: those with images are of a run on the embedded digits.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from digitnet.experiment.page_content import page_content
from digitnet.report.page import render_page
from documents import CHECKOUT

THREE = [(95, 85), (140, 60), (185, 85), (180, 120), (140, 138), (185, 160), (190, 205), (140, 228), (92, 205)]


def open_page(page: Page, run: Path, scratch: Path) -> None:
    """Make the page of `run`, open it, and draw a digit on its pad."""
    (scratch / "page.html").write_text(render_page(page_content([run])), encoding="utf-8")
    page.goto((scratch / "page.html").as_uri())
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    for number, (x, y) in enumerate(THREE):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=1 if number == 0 else 6)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.locator("#pad").blur()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(200)


def save(page: Page, name: str, first: str, last: str) -> None:
    """Save what is from the top of one element to the end of another."""
    top, end = page.locator(first).bounding_box(), page.locator(last).bounding_box()
    assert top is not None
    assert end is not None
    width = page.viewport_size["width"] if page.viewport_size else 1000
    clip = {"x": 0, "y": top["y"], "width": width, "height": end["y"] + end["height"] - top["y"]}
    page.screenshot(path=CHECKOUT / "docs" / name, full_page=True, clip=clip)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path, required=True, metavar="RUN_DIR", help="a run on MNIST: README's picture")
    parser.add_argument("--digits", type=Path, required=True, metavar="RUN_DIR", help="a run on the embedded digits")
    parser.add_argument("--sweep", type=Path, required=True, metavar="SWEEP_DIR", help="a sweep of the learning rate")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        size = {"width": 1000, "height": 800}
        light = browser.new_page(viewport=size, color_scheme="light")  # type: ignore[arg-type]
        open_page(light, options.mnist, Path(scratch))
        save(light, "report.png", "header .bar", "#curves-section")
        open_page(light, options.sweep, Path(scratch))
        save(light, "report_sweep.png", "#sweep-section", "#sweep-section")
        dark = browser.new_page(viewport=size, color_scheme="dark")  # type: ignore[arg-type]
        open_page(dark, options.digits, Path(scratch))
        save(dark, "report_images.png", "#mistakes-section", "#confusion-section")
        browser.close()


if __name__ == "__main__":
    main()
