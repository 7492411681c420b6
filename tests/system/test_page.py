"""A report's page in a real Chromium: what it computes, how it is used, and what cannot happen in it."""

import base64
import functools
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright
from torch import Tensor, nn

from conftest import Command, summary_in
from digitnet import cli
from digitnet.data import load_digits
from digitnet.data.preparation import fit_digit
from digitnet.experiment.page_content import page_content
from digitnet.experiment.page_network import page_network, with_half_weights
from digitnet.metrics import predict
from digitnet.models import AllConv, FastNet, LeNet5, OriginalLeNet5
from digitnet.report.page import render_page
from digitnet.report.page_server import page_server
from digitnet.runs.formats import read_metrics, write_metrics

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
SEVEN = [(90, 80), (180, 70), (185, 90), (140, 140), (110, 220)]  # pixels of the pad
EMPTY: dict[str, Any] = {"title": "t", "runs": [], "table": None, "left_out": [], "missing": [], "details": None}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs user namespaces, which a container may not have.
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, of which the first is good, and their pages: one.html and two.html."""
    folder = tmp_path_factory.mktemp("pages")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert cli.main(["experiment=fast99", "data=digits", "device=cpu", "hydra.run.dir=runs/good"]) == 0
        short = ["experiment=fast99", "data=digits", "data.enlarge_to=1437", "device=cpu"]
        assert cli.main([*short, "optimizer.lr=0.001", "hydra.run.dir=runs/other"]) == 0
        assert cli.main(["report", "runs/good", "--output", "one.html"]) == 0
        assert cli.main(["report", "runs", "--output", "two.html"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """`opened(path, **options)`: the page, which must log nothing, request nothing, and raise nothing."""
    faults: list[str] = []
    pages: list[Page] = []

    def open_page(path: Path, **options: Any) -> Page:
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}} | options)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        address = path.absolute().as_uri()
        page.on("request", lambda request: request.url.startswith((address, "data:")) or faults.append(request.url))
        page.goto(address)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert faults == []


def draw(page: Page, points: list[tuple[int, int]]) -> None:
    """With the mouse, on the pad."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    for number, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + 2 + x, box["y"] + 2 + y, steps=1 if number == 0 else 8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def answer(page: Page) -> str:
    """What the page says of the drawing, when it has been drawn and computed: one frame later."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator("#answer").inner_text()


def logits_in(page: Page, model: nn.Module, images: Tensor, half: bool = False) -> Tensor:
    """What the page's scripts compute for images (N, 1, 28, 28) uint8."""
    description = page_network(model, half)
    code = "([network, images]) => { const n = new Network(network); return images.map((i) => [...n.logits(i)]); }"
    return torch.tensor(page.evaluate(code, [description, (images.float() / 255).flatten(1).tolist()]))


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (LeNet5(), 1000),
        (FastNet(), 1000),
        (AllConv(), 100),
        (OriginalLeNet5(), 200),
        (OriginalLeNet5(output="units"), 100),
        (nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Tanh(), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(676, 10)), 200),
    ],
)
def test_network_in_the_page_computes_what_pytorch_does(
    opened: Any, tmp_path: Path, model: nn.Module, count: int
) -> None:
    (tmp_path / "page.html").write_text(render_page(EMPTY))
    page = opened(tmp_path / "page.html")
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after a training
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    images = load_digits(1437).train.images[:count]
    for half in (False, True):
        expected = predict(with_half_weights(model) if half else model, images)
        found = logits_in(page, model, images, half)
        if isinstance(model, OriginalLeNet5):  # the page leaves out what is the same for all classes
            found, expected = (logits - logits.mean(1, keepdim=True) for logits in (found, expected))
        assert (found - expected).abs().max() < 1e-4
        assert torch.equal(found.argmax(1), expected.argmax(1))


def test_drawing_is_prepared_as_predict_prepares_it(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(render_page(EMPTY))
    page = opened(tmp_path / "page.html")
    random = np.random.default_rng(0)
    for height, width in ((280, 280), (90, 200), (31, 12), (280, 41), (3, 3)):
        ink = np.zeros((height, width), np.float32)
        for _ in range(4):
            top, left = random.integers(0, height), random.integers(0, width)
            ink[top : top + 1 + height // 5, left : left + 1 + width // 4] = random.uniform(0.3, 1)
        code = "([ink, width, height]) => [...fitDigit(Float32Array.from(ink), width, height)]"
        found = np.array(page.evaluate(code, [ink.flatten().tolist(), width, height]))
        expected = fit_digit(ink).numpy().flatten()
        assert np.abs(255 * found - expected).max() <= 1.001
        assert (np.rint(255 * found) == expected).mean() > 0.99
    assert page.evaluate("fitDigit(new Float32Array(16), 4, 4)") is None


def test_digit_drawn_with_the_mouse_is_recognised_as_predict_does(
    opened: Any, folder: Path, command: Command, tmp_path: Path
) -> None:
    page = opened(folder / "one.html")
    draw(page, SEVEN)
    said = answer(page)
    assert re.fullmatch(r"7, \d+\.\d %", said)
    assert page.locator("#bars li").nth(7).inner_text().split() == ["7", said[3:-2], "%"]
    page.locator("#pad").evaluate("pad => pad.blur()")
    picture = page.evaluate("document.getElementById('pad').toDataURL().split(',')[1]")
    (tmp_path / "seven.png").write_bytes(base64.b64decode(picture))
    done = command("predict", str(folder / "runs/good"), str(tmp_path / "seven.png"), "--format", "json")
    (found,) = json.loads(done.out)
    assert found["predicted"] == "7"
    assert found["confidence"] == pytest.approx(float(said[3:-2]) / 100, abs=0.01)
    page.locator("#clear").click()
    assert answer(page) == "Draw something."


def test_digit_is_drawn_with_the_keyboard(opened: Any, folder: Path) -> None:
    page = opened(folder / "one.html")
    page.locator("#pad").focus()
    for key, times in (("ArrowUp", 10), (" ", 1), ("ArrowDown", 20), (" ", 1)):
        for _ in range(times):
            page.keyboard.press(key)
    said = answer(page)
    assert said.startswith("1, ")
    page.keyboard.press("Delete")
    assert answer(page) == "Draw something."


def test_undo_takes_back_the_last_stroke(opened: Any, folder: Path) -> None:
    page = opened(folder / "one.html")
    draw(page, [(140, 50), (140, 230)])
    first = answer(page)
    draw(page, [(60, 140), (220, 140)])
    assert answer(page) != first
    page.locator("#undo").click()
    assert answer(page) == first


def test_cell_of_the_confusions_shows_its_images_and_an_image_its_activations(opened: Any, folder: Path) -> None:
    page = opened(folder / "one.html")
    errors = summary_in(folder / "runs/good")["test"]["errors"]
    assert page.locator("#gallery button").count() == min(errors, 48)
    page.locator(".matrix button[aria-label$='right']").first.click()
    assert "are classified correctly" in page.locator("#gallery-text").inner_text()
    assert page.locator("#gallery button").count() == 15
    page.locator("#gallery button").first.click()
    assert page.locator("#layers h3").all_inner_texts()[1:3] == [
        "convolution: 16 maps of 20 x 20", "max-pooling: 16 maps of 10 x 10",
    ]  # fmt: skip
    assert "test image" in page.locator("#inside-text").inner_text()
    page.locator(".matrix button[aria-label$='right']").first.click()  # again: back to all errors
    assert page.locator("#gallery button").count() == min(errors, 48)


def test_runs_are_switched_off_sorted_and_filtered(opened: Any, folder: Path) -> None:
    page = opened(folder / "two.html")
    label = page.locator("#charts [role=img]").first
    assert "good" in str(label.get_attribute("aria-label"))
    page.locator("#run-switches input").first.uncheck()
    label = page.locator("#charts [role=img]").first
    assert "good" not in str(label.get_attribute("aria-label"))
    page.locator("#run-switches button", has_text="None").click()
    page.locator("#run-switches button", has_text="All").click()
    page.locator("#logarithmic").check()
    rows, heading = page.locator("#runs tbody tr"), page.locator("#runs th", has_text="test_acc")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert "other" in rows.first.inner_text()
    heading.locator("button").click()
    assert "good" in rows.first.inner_text()
    page.locator("#filter").fill("other")
    assert [row.is_visible() for row in rows.all()] == [False, True]


def test_numbers_of_an_axis_are_short(opened: Any, folder: Path) -> None:
    """It has room for seven characters."""
    page = opened(folder / "one.html")
    numbers = page.evaluate("() => [0, 98.971234, 1200, 0.00015, 0.000015, 1.23e-7].map(short)")
    assert numbers == ["0", "98.97", "1200", "0.00015", "1.5e-5", "1.23e-7"]


def test_values_under_the_pointer_are_told(opened: Any, folder: Path) -> None:
    page = opened(folder / "one.html")
    chart = page.locator(".chart").last
    chart.scroll_into_view_if_needed()
    chart.locator(".u-over").hover()
    assert re.search(r": (accuracy|as sure as right) [\d.]+ %", chart.locator(".readout").inner_text())


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_page_has_no_findings_of_axe(opened: Any, folder: Path, theme: str, name: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(folder / f"{name}.html", color_scheme=theme)
    page.locator("#gallery button").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("width", [360, 768, 2560])
def test_page_is_as_wide_as_the_window(opened: Any, folder: Path, width: int) -> None:
    page = opened(folder / "two.html", viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_theme_is_chosen_and_print_is_light(opened: Any, folder: Path) -> None:
    page = opened(folder / "one.html", color_scheme="light")
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_command_is_copied(opened: Any, folder: Path) -> None:
    page = opened(folder / "one.html")
    page.locator("#copy").click()
    page.locator("#copy", has_text="Copied").wait_for()


def test_nothing_in_a_runs_folder_can_run_script(opened: Any, folder: Path, command: Command, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    shutil.copytree(folder / "runs/good", tmp_path / "<img src=x onerror=alert(1)>")
    run_dir = tmp_path / "<img src=x onerror=alert(1)>"
    summary = summary_in(run_dir)
    summary |= {"command": evil, "error": evil, "model": evil}
    summary["dataset"]["classes"] = [f"{evil}{n}" for n in range(10)]
    summary["versions"][evil] = evil
    (run_dir / "summary.json").write_text(json.dumps(summary))
    shutil.copytree(run_dir, tmp_path / "second")
    for name, paths in (("one", [run_dir]), ("two", [run_dir, tmp_path / "second"])):
        output = tmp_path / f"{name}.html"
        assert command("report", *map(str, paths), "--output", str(output)).code == 0
        page = opened(output)
        draw(page, SEVEN)
        answer(page)
        for button in page.locator(".matrix button").all()[:3]:
            button.click()
        assert page.locator("img").count() == 0
        assert page.locator("#command").inner_text() == evil


def test_policy_stops_a_script_that_got_into_the_page(browser: Browser, folder: Path, tmp_path: Path) -> None:
    text = (folder / "one.html").read_text()
    smuggled = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\"></main>"
    (tmp_path / "page.html").write_text(text.replace("</main>", smuggled))
    page = browser.new_page()
    requests: list[str] = []
    page.on("requestfinished", lambda request: requests.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == "fastnet on digits · digitnet"
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert len(requests) == 1  # the page itself
    page.close()


def test_served_page_follows_a_run(browser: Browser, folder: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(folder / "runs/good", run_dir)
    records = read_metrics(run_dir / "metrics.csv")
    with page_server(functools.partial(page_content, [run_dir], "last", False), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        draw(page, SEVEN)
        said = answer(page)
        write_metrics(run_dir / "metrics.csv", [*records, replace(records[0], epoch=2, lr=0.125)])
        page.locator("#charts [role=img][aria-label*='0.125']").wait_for(timeout=30_000)
        assert answer(page) == said  # the page was not loaded anew
        server.shutdown()
        server.server_close()
        page.get_by_text("The server does not answer").wait_for(timeout=30_000)
        assert [fault for fault in faults if "ERR_CONNECTION_REFUSED" not in fault] == []
        page.close()
