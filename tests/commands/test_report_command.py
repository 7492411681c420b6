"""digitnet report: what the page has in it, and what it says is missing. tests/system/test_page.py opens it."""

import base64
import copy
import functools
import html
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import TINY, Command, Trained, summary_in, write
from digitnet.errors import ConfigError
from digitnet.experiment import page_content
from digitnet.experiment import page_network as page_network_module
from digitnet.experiment.page_network import UnsupportedLayerError, page_network
from digitnet.models import AllConv, FastNet, LeNet5, OriginalLeNet5
from digitnet.report import page_sweep
from digitnet.report.page import render_page
from digitnet.report.page_server import page_server
from digitnet.report.page_sweep import sweep_content
from digitnet.runs.reader import find_runs
from run_folders import make_run

NET = (
    "from torch import nn\n"
    "class Net(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    "    def forward(self, images):\n"
    "        return self.layers(images)\n"
)


def data_of(path: str = "report.html") -> dict[str, Any]:
    """What the page's scripts read."""
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', Path(path).read_text(), re.DOTALL)
    assert match is not None
    content: dict[str, Any] = json.loads(match[1])
    return content


def test_page_of_a_run_has_result_curves_images_and_the_network(trained: Trained, command: Command) -> None:
    run_dir = trained(*TINY)
    done = command("report", "run")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"report\.html: \d+ kB\n", done.out)
    data, summary = data_of(), summary_in(run_dir)
    assert data["title"] == "lenet5 on digits"
    assert data["head"]["result"].startswith(f"test accuracy {100 * summary['test']['accuracy']:.2f} % (")
    assert data["head"]["command"] == summary["command"]
    assert [run["epoch"] for run in data["runs"]] == [[1, 2]]
    details = data["details"]
    wrong = [image for image in details["images"] if image["label"] != image["predicted"]]
    assert len(wrong) == details["errors"] == summary["test"]["errors"]
    assert sum(map(sum, details["confusion"])) == summary["test"]["n"]
    assert len(base64.b64decode(details["pixels"])) == 784 * len(details["images"])
    assert details["network"]["prepare"] == "mnist"
    facts = dict(data["head"]["facts"])
    assert facts["model"] == "lenet5, 166,826 parameters"
    assert "torch" in facts["versions"]
    text = Path("report.html").read_text()
    assert "https://" not in re.sub(r"/\*!.*?\*/", "", text, flags=re.DOTALL)  # but for the library's own line


def test_existing_file_is_replaced_only_by_force(trained: Trained, command: Command) -> None:
    trained(*TINY)
    write(Path("report.html"), "mine")
    assert command("report", "run").err == "error: --output report.html: exists; add --force to replace it\n"
    assert Path("report.html").read_text() == "mine"
    assert command("report", "run", "--force").code == 0
    assert (
        command("report", "run", "--output", "page.pdf").err
        == "error: --output page.pdf: ends in none of .html, .htm\n"
    )


def test_wrong_folder_is_named_before_an_output_that_exists(command: Command) -> None:
    write(Path("report.html"), "kept")
    done = command("report", "nope")
    assert (done.code, done.err.partition(";")[0]) == (2, "error: nope: no such folder")


def test_page_of_a_debug_run_says_that_it_is_no_result(trained: Trained, command: Command) -> None:
    done = command("report", str(trained("debug=fast")))
    assert done.code == 0
    assert "; debug=fast: no result" in Path("report.html").read_text()


def test_no_run_is_an_error(command: Command) -> None:
    Path("empty").mkdir()
    done = command("report", "empty")
    assert (done.code, done.err) == (
        2,
        "error: empty: no run there; give the folder of runs or sweeps, outputs/ for instance\n",
    )
    assert not Path("report.html").exists()


def test_run_without_checkpoints_has_a_page_without_pad(trained: Trained, command: Command) -> None:
    shutil.rmtree(trained(*TINY) / "checkpoints")
    done = command("report", "run")
    assert done.code == 0
    assert done.err.startswith("note: no images and no pad: ")
    assert "has no checkpoint 'last'" in done.err
    assert data_of()["details"] is None
    assert "has no checkpoint" in Path("report.html").read_text()


def test_run_whose_data_are_gone_keeps_its_pad(trained: Trained, command: Command, small_mnist: Path) -> None:
    options = ["data=mnist", f"data.root={small_mnist}", "trainer.epochs=1", "logger=metrics"]
    assert command(*options, "hydra.run.dir=run").code == 0
    shutil.rmtree(small_mnist)
    done = command("report", "run")
    assert done.code == 0
    assert done.err.startswith("note: no images: ")
    details = data_of()["details"]
    assert details["network"]["bytes_per_weight"] == 4  # no test set that shows that two are enough
    assert "images" not in details


def test_network_of_ones_own_has_no_pad(command: Command) -> None:
    write(Path("mine.py"), NET)
    assert command("model=custom", "model.target=mine:Net", *TINY, "trainer.epochs=1", "hydra.run.dir=run").code == 0
    done = command("report", "run", "--trust")
    assert done.err == (
        "note: no pad: the page cannot compute this network: it is a network of your own (model=custom)\n"
    )
    assert data_of()["details"]["network"] is None
    assert data_of()["details"]["images"]
    done = command("report", "run", "--force")
    assert "note: no images and no pad: " in done.err
    assert "add --trust" in done.err


def test_several_runs_have_a_table_and_the_images_of_the_best(
    trained: Trained, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(*TINY, to="runs/a")
    trained(*TINY, "optimizer=adam", to="runs/b")
    assert command("report", "runs").code == 0
    data = data_of()
    best = max(data["runs"], key=lambda run: run["val_acc"][-1])
    assert data["title"] == "2 runs"
    assert len(data["table"]["cells"]) == 2
    assert data["head"]["name"] == data["runs"][0]["name"] == best["name"]
    monkeypatch.setattr(page_content, "MOST_RUNS", 1)
    monkeypatch.setattr(page_content, "MOST_ROWS", 1)
    done = command("report", "runs", "--force")
    assert done.err == (
        "note: curves are of the 1 best of 2 runs, by validation accuracy\nnote: the table has 1 of 2 runs\n"
    )
    assert [len(data_of()["runs"]), len(data_of()["table"]["cells"])] == [1, 1]


def test_sweep_has_the_error_against_the_swept_setting_and_all_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for lr in (0.01, 0.1, 1.0):
        for seed in (0, 1):
            for model in ("lenet5", "fastnet"):
                accuracies = (0.1, 1 - lr / 2 - seed / 10)
                make_run(f"{lr}-{seed}-{model}", accuracies, optimizer__lr=lr, seed=seed, model__name=model)
    content = sweep_content(find_runs(["."]))
    assert content is not None
    assert content["swept"]["axis"] == {"key": "optimizer.lr", "log": True, "names": None}
    assert content["swept"]["measure"] == "Test error"
    assert [name for name, _ in content["swept"]["series"]] == ["model fastnet", "model lenet5"]
    assert content["swept"]["series"][0][1] == [(0.01, [0.5, 10.5]), (0.1, [5.0, 15.0]), (1.0, [50.0, 60.0])]
    axes = content["parallel"]["axes"]
    assert [(axis["key"], axis["log"], axis["names"]) for axis in axes] == [
        ("model", False, ["fastnet", "lenet5"]), ("lr", True, None), ("test error, %", True, None),
    ]  # fmt: skip
    assert content["parallel"]["lines"][0][1:] == [0.01, 0.5]  # the best
    assert content["parallel"]["of"] == 12
    monkeypatch.setattr(page_sweep, "MOST_LINES", 3)
    content = sweep_content(find_runs(["."]))
    assert content is not None
    assert (len(content["parallel"]["lines"]), content["parallel"]["of"]) == (3, 12)


def test_runs_that_differ_in_the_seed_alone_are_no_sweep() -> None:
    for seed in (0, 1):
        make_run(str(seed), seed=seed)
    assert sweep_content(find_runs(["."])) is None


def test_long_runs_are_thinned_out_but_keep_their_last_epoch(
    trained: Trained, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(*TINY, "trainer.epochs=5")
    monkeypatch.setattr(page_content, "MOST_POINTS", 3)
    assert command("report", "run").code == 0
    assert data_of()["runs"][0]["epoch"] == [2, 4, 5]


def test_run_that_has_not_trained_has_a_page_that_says_so(trained: Trained, command: Command) -> None:
    run_dir = trained(*TINY)
    summary = summary_in(run_dir) | {"status": "failed", "epochs": 0, "final": None, "best": None, "test": None}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    (run_dir / "metrics.csv").unlink()
    done = command("report", "run")
    assert done.code == 0
    assert done.err == "note: no epoch is finished, so there are no curves, no images and no pad\n"


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (LeNet5(), "conv pool sigmoid conv pool sigmoid conv flatten dense sigmoid dense"),
        (FastNet(), "pad conv pool scale relu conv pool scale relu flatten dense relu dense"),
        (AllConv(), "conv pool relu conv pool relu conv relu conv relu conv flatten"),
        (
            OriginalLeNet5(),
            "pad scale conv scaled_tanh pool scale scaled_tanh conv scaled_tanh pool scale scaled_tanh flatten "
            "dense scaled_tanh dense scaled_tanh dense",
        ),
    ],
)
def test_layers_of_the_page_are_those_of_the_network(model: nn.Module, kinds: str) -> None:
    assert [layer["kind"] for layer in page_network(model.eval(), half=False)["layers"]] == kinds.split()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 3, dilation=2), nn.Conv2d(1, 2, 3, padding="same"), nn.Conv2d(1, 2, 3, padding_mode="circular"),
        nn.MaxPool2d(2, padding=1), nn.AvgPool2d(2, ceil_mode=True), nn.GELU(), nn.Flatten(0),
    ],
)  # fmt: skip
def test_layers_that_the_page_does_not_have_are_refused(layer: nn.Module) -> None:
    with pytest.raises(UnsupportedLayerError):
        page_network(nn.Sequential(layer), half=False)


def test_network_that_is_no_sequence_is_refused() -> None:
    with pytest.raises(UnsupportedLayerError, match="Linear is no sequence of layers"):
        page_network(nn.Linear(2, 2), half=False)


@pytest.mark.parametrize("is_same", [True, False])
def test_weights_take_half_the_bytes_where_no_prediction_changes(
    trained: Trained, command: Command, monkeypatch: pytest.MonkeyPatch, is_same: bool
) -> None:
    trained(*TINY)
    if not is_same:
        monkeypatch.setattr(page_network_module, "with_half_weights", lambda model: _with_other_bias(model))
    command("report", "run")
    carried = data_of()["details"]["network"]
    assert carried["bytes_per_weight"] == (2 if is_same else 4)
    size = sum(layer[key]["count"] for layer in carried["layers"] for key in ("weight", "bias") if key in layer)
    assert size == 166_826
    least = size * carried["bytes_per_weight"]
    assert least <= len(base64.b64decode(carried["weights"])) < 1.01 * least


def _with_other_bias(model: nn.Module) -> nn.Module:
    other = copy.deepcopy(model)
    assert isinstance(other, LeNet5)
    with torch.no_grad():
        other.layers[-1].bias += torch.arange(10) * 10.0
    return other


def test_texts_of_a_run_are_no_markup(trained: Trained, command: Command) -> None:
    run_dir = trained(*TINY)
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    summary = summary_in(run_dir)
    summary |= {"command": evil, "error": evil, "model": evil}
    summary["dataset"]["classes"] = [f"{evil}{n}" for n in range(10)]
    (run_dir / "summary.json").write_text(json.dumps(summary))
    assert command("report", "run").code == 0
    text = Path("report.html").read_text()
    assert "<script>alert" not in text
    assert "<img" not in text
    assert data_of()["head"]["command"] == evil


def test_page_without_runs_scripts_is_valid_without_details() -> None:
    page = render_page({"title": "a & b", "runs": [], "table": None, "left_out": [], "missing": [], "details": None})
    assert "<h1>a &amp; b</h1>" in page


def _reply(port: int, path: str, host: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_served_page_is_for_this_machine_alone(trained: Trained) -> None:
    run_dir = trained(*TINY)
    content = functools.partial(page_content.page_content, [run_dir], "last", False)
    with page_server(content, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        assert server.server_address[0] == "127.0.0.1"
        status, text = _reply(port, "/", f"127.0.0.1:{port}")
        assert (status, "connect-src 'self'" in html.unescape(text)) == (200, True)
        status, text = _reply(port, "/data.json", f"localhost:{port}")
        assert (status, json.loads(text)["runs"][0]["epoch"]) == (200, [1, 2])
        assert _reply(port, "/data.json", f"example.org:{port}")[0] == 403
        assert _reply(port, "/../summary.json", f"127.0.0.1:{port}")[0] == 404
        shutil.rmtree(run_dir)
        status, text = _reply(port, "/data.json", f"127.0.0.1:{port}")
        assert (status, "no such folder" in text) == (500, True)
        with pytest.raises(ConfigError, match=rf"--port {port}: cannot be used \(.*\); leave it out, or give another"):
            page_server(content, port)
        server.shutdown()


def test_written_page_asks_for_nothing(trained: Trained, command: Command) -> None:
    trained(*TINY)
    assert command("report", "run").code == 0
    assert "connect-src 'none'" in html.unescape(Path("report.html").read_text())


def test_server_says_where_it_is_and_ctrl_c_ends_it(trained: Trained) -> None:
    trained(*TINY)
    words = [sys.executable, "-m", "digitnet", "report", "run", "--serve"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ follows run; Ctrl-C ends it\n", line)
        assert match is not None
        assert _reply(int(match[1]), "/data.json", "localhost:1")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "Stopped\n"
    assert not Path("report.html").exists()


def test_runs_of_the_same_name_are_told_apart(trained: Trained, command: Command) -> None:
    for parent in "ab":
        trained(*TINY, to=f"runs/{parent}/run")
    assert command("report", "runs").code == 0
    assert sorted(run["name"] for run in data_of()["runs"]) == ["a/run", "b/run"]
