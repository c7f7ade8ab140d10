"""The demo: what is in its folder, how it is served, and what its page does in a browser."""

import base64
import contextlib
import functools
import gzip
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
from unittest.mock import Mock
from urllib.parse import quote

from support import UserError, cli, download, files
from support import server as web

import numpy as np
import pytest
from drawings import DRAWINGS

import data
import results
from deployment import demo, export, layers, network

pytestmark = pytest.mark.process

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SECOND = "second run #2"  # of other classes, held out, and with a report
PATIENCE = 120_000  # milliseconds that a page on a busy machine may take


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """A made-up onnxruntime-web of two small files: the contents that npm packs, or the cause for which it fails, and
    the folder in which they are kept."""
    contents = {name: f"content of {name}".encode() for name in demo.RUNTIME_SHA256}
    made_up = SimpleNamespace(contents=contents, cause=None, folder=tmp_path / "data" / "-".join(demo.RUNTIME))

    def npm(words, _):
        with tarfile.open(Path(words[words.index("--pack-destination") + 1]) / "package.tgz", "w:gz") as archive:
            for name, content in made_up.contents.items():
                member = tarfile.TarInfo(f"package/dist/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        said = json.dumps({"error": {"summary": made_up.cause}})
        return SimpleNamespace(returncode=int(made_up.cause is not None), stdout=said)

    monkeypatch.setattr(download, "npm", npm)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(demo, "RUNTIME_SHA256", sums)
    return made_up


@pytest.fixture(scope="module")
def site(trained, mnist_folder, tmp_path_factory):
    """The folder of a demo of a run, under a path of its own, and of what passes for a second run."""
    built = tmp_path_factory.mktemp("pages") / "mnist-20k"
    try:
        demo.fetch_runtime(mnist_folder)
    except UserError as error:
        pytest.skip(str(error))
    demo.main([str(trained), "--data", str(mnist_folder), "--out", str(built), "--build-only"])
    second, listed = shutil.copytree(built / "runs" / "first", built / "runs" / SECOND), facts_of(built)
    (second / "report.html").write_text("<!doctype html><link rel=icon href=data:,>the report")
    others = {"name": SECOND, "classes": data.DATASETS["fashion-mnist"].classes, "reads_digits": False, "holdout": True}
    listed["runs"].insert(1, listed["runs"][0] | others | {"files": ["page.json", "report.html"]})
    files.write_json(built / "runs.json", listed)
    return built


def facts_of(site):
    return json.loads((site / "runs.json").read_bytes())


def test_a_demo_holds_the_page_its_runtime_and_each_run(site, trained, mnist):
    runs = [run["name"] for run in facts_of(site)["runs"]]
    assert runs == ["first", SECOND, *(each.name for each in network.records())]
    names = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    parts = {f"runs/{name}/model.onnx" for name in runs} | {f"runs/{name}/page.json" for name in runs[:2]}
    parts |= {"runs.json", "records.html", "demo.png", "detector/model.onnx", f"runs/{SECOND}/report.html"}
    script, binary = demo.RUNTIME_SHA256
    assert names == {path.name for path in demo.PAGE.iterdir()} | parts | {
        f"vendor/{script}",
        f"vendor/{binary}.packed",
    }
    unpacked = gzip.decompress((site / "vendor" / f"{binary}.packed").read_bytes())
    assert hashlib.sha256(unpacked).hexdigest() == demo.RUNTIME_SHA256[binary]
    assert len(unpacked) == facts_of(site)["runtime_bytes"]
    assert "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'" in (site / "index.html").read_text("utf-8")
    result, facts, record = results.load(trained), facts_of(site)["runs"][0], facts_of(site)["runs"][2]
    page = json.loads((site / "runs" / "first" / "page.json").read_bytes())
    assert facts["parameters"] == result["total_parameters"]
    assert facts["epochs"] == result["total_epochs"]
    assert facts["seconds"] == result["training_time"]
    assert facts["accuracy"] == result["final_test_accuracy"]
    assert facts["accuracy_ci95"] == pytest.approx(result["final_test_accuracy_ci95"])
    assert facts["classes"] == list("0123456789")
    assert facts["misclassified"] == len(result["misclassified"])
    assert "record" not in facts
    assert record["record"]["mean"] == results.load_record(record["name"])["mean"]
    assert {"name": "epochs", "measured": "2 < 20", "passed": True} in page["rules"]
    for mistake in page["mistakes"]:
        assert result["misclassified"][str(mistake["index"])] == mistake["predicted"] != mistake["true"]
        pixels = np.frombuffer(base64.b64decode(mistake["pixels"]), np.uint8)
        assert (pixels == mnist[1].pixels[mistake["index"]].flatten().numpy()).all()
        assert mistake["true"] == str(mnist[1].labels[mistake["index"]].item())


@pytest.mark.parametrize("recipe", ["default", "under1500"])
def test_layers_become_outputs_and_nothing_else_changes(recipe, mnist):
    content, pixels = files.read(results.RECORDS / f"{recipe}.onnx"), mnist[1].pixels[:3].numpy()
    with_maps, described = layers.add_outputs(content)
    read, maps = network.session(content), network.session(with_maps)
    assert maps.run(["logits"], {"pixels": pixels})[0] == pytest.approx(
        read.run(["logits"], {"pixels": pixels})[0], abs=1e-4
    )
    values = maps.run([layer["output"] for layer in described], {"pixels": pixels})
    assert [value.shape for value in values] == [(3, each["maps"], each["height"], each["width"]) for each in described]
    kinds = [layer["kind"] for layer in described]
    assert (kinds[0], kinds[-1]) == ("3×3 convolution", "mean of each map")
    assert ("3×3 depthwise convolution" in kinds) == (recipe == "under1500")
    assert values[-1] == pytest.approx(values[-2].mean((2, 3), keepdims=True), abs=1e-5)
    assert (values[-2] >= 0).all() == (recipe == "default")  # after its ReLU, the other's SiLU


def test_the_source_is_what_gits_remote_names_without_who_may_write_there(monkeypatch):
    remotes = {
        "https://github.com/someone/mnist.git": "https://github.com/someone/mnist",
        "git@github.com:someone/mnist.git": "https://github.com/someone/mnist",
        "ssh://git@git.example.org/group/sub/mnist": "https://git.example.org/group/sub/mnist",
        "https://name:secret@github.com/someone/mnist": "https://github.com/someone/mnist",
    }
    remotes |= dict.fromkeys(["", "/home/someone/mnist", "../mnist", "file:///home/mnist", "C:/mnist"])
    for remote, expected in remotes.items():
        monkeypatch.setattr(demo.subprocess, "run", lambda *_, said=remote, **__: SimpleNamespace(stdout=said + "\n"))
        assert demo.source() == expected


def test_a_folder_is_replaced_whole_or_not_at_all_and_only_a_demos(runtime, tmp_path, monkeypatch, inject):
    folder = tmp_path / "demo"
    build = functools.partial(demo.build, [], tmp_path / "data", folder)
    folder.mkdir()  # an empty one is nobody's
    build()
    (folder / "old.txt").write_text("of another version")
    inject("disk full while a demo is built")
    with monkeypatch.context() as change, pytest.raises(UserError, match=r"not be built \(No space left on device\)"):
        change.setattr(demo.shutil, "copyfile", Mock(side_effect=OSError(28, "No space left on device")))
        build()
    assert (folder / "old.txt").exists()
    build()
    assert not (folder / "old.txt").exists()
    assert [path.name for path in tmp_path.iterdir() if "demo" in path.name] == ["demo"]
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "runs.json").write_text("mine")
    inject("folder of other people's files")
    with pytest.raises(UserError, match="demo is no demo, and would be replaced: name another folder with --out"):
        build()
    assert (folder / "runs.json").read_text() == "mine"


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """Makes a run, and has network.find give it without an export."""
    monkeypatch.setattr(network, "records", lambda: [SimpleNamespace(name="default"), SimpleNamespace(name="fast")])
    found = {}

    def find(run=None):
        if run not in found:
            raise UserError(f"{run} could not be exported")
        return found[run]

    def make(name, is_best=False):
        found[None if is_best else tmp_path / name] = SimpleNamespace(name=name)
        return tmp_path / name

    monkeypatch.setattr(network, "find", find)
    return make


def names(*runs):
    return [each.name for each in demo.choose(list(runs))]


def test_the_runs_that_are_named_come_first_and_the_records_after_them(exported, inject):
    mine, fast = exported("mine"), exported("fast")
    assert names(mine, fast) == ["mine", "fast", "default"]
    with pytest.raises(UserError, match="have one name"):
        demo.choose([fast, fast])
    inject("run that cannot be shown")
    with pytest.raises(UserError, match="gone could not be exported"):
        demo.choose([mine.with_name("gone")])


def test_without_names_the_best_run_is_taken_else_the_best_record(exported):
    exported("mine", is_best=True)
    assert names() == ["mine", "default", "fast"]
    exported("default", is_best=True)
    assert names() == ["default", "fast"]


def test_the_runtime_is_fetched_once_and_again_when_it_is_damaged(runtime, monkeypatch, inject, capsys):
    def fetched():
        folder = demo.fetch_runtime(runtime.folder.parent)
        return {name: (folder / name).read_bytes() for name in demo.RUNTIME_SHA256}

    assert fetched() == runtime.contents
    (runtime.folder / min(runtime.contents)).write_bytes(b"torn")
    inject("damaged runtime")
    assert fetched() == runtime.contents
    assert "is not the official file" in capsys.readouterr().err
    runtime.cause = "npm is not called"
    monkeypatch.setattr(files, "lock", Mock(side_effect=UserError("the folder is read-only")))
    assert fetched() == runtime.contents


@pytest.mark.parametrize("cause, failed", [("connect ECONNREFUSED", True), ("it has not all of them", False)])
def test_a_runtime_that_cannot_be_fetched_is_one_line_with_cause_and_remedy(runtime, inject, cause, failed):
    runtime.contents, runtime.cause = dict.fromkeys(runtime.contents, b"something else"), cause if failed else None
    inject("package that cannot be had")
    with pytest.raises(UserError, match=rf"could not be fetched.*{'@'.join(demo.RUNTIME)} \({cause}") as caught:
        demo.fetch_runtime(runtime.folder.parent)
    assert f"Copy them into {runtime.folder} by hand" in str(caught.value)
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def served(folder):
    """The port at which a folder is served."""
    with web.listen(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def get(port, path):
    """(status, headers, content) of a path that no client has tidied up."""
    connection = http.client.HTTPConnection(web.ADDRESS, port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_files_are_served_as_what_a_browser_needs_and_nothing_else_is(tmp_path, monkeypatch, capfd, inject):
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_, **__: ("text/plain", None))
    inject("registry with wrong types")
    types = {"a.js": "javascript", "a.mjs": "javascript", "a.wasm": "application/wasm", "a.css": "text/css"}
    types |= {"a.json": "application/json", "index.html": "text/html"}
    (tmp_path / "secret.txt").write_text("secret")
    site = tmp_path / "site"
    (site / "runs").mkdir(parents=True)
    for name in types:
        (site / name).write_text(name)
    (site / "large").write_bytes(bytes(20_000_000))
    outside = ["/../secret.txt", "/%2e%2e/secret.txt", "/runs/../../secret.txt", "/..%2fsecret.txt", "//etc/hosts"]
    with served(site) as port:
        for name, expected in types.items():
            status, headers, content = get(port, f"/{name}")
            assert (status, headers["Cache-Control"], content) == (200, "no-cache", name.encode())
            assert expected in headers["Content-Type"]
        assert get(port, "/")[2] == b"index.html"
        for path in outside:
            inject("path that leads outside")
            assert get(port, path)[0] == 404
        inject("browser that leaves")
        with socket.create_connection((web.ADDRESS, port)) as connection:
            connection.sendall(b"GET /large HTTP/1.0\r\n\r\n")
            connection.recv(100)
        assert get(port, "/large")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_the_first_free_port_is_taken_unless_one_is_asked_for(tmp_path, monkeypatch, inject):
    with web.listen(tmp_path, 0) as first:
        taken = first.server_port
        monkeypatch.setattr(web, "PORTS", (taken, 0))
        with web.listen(tmp_path, None) as second:
            assert second.server_address[0] == "127.0.0.1"
            assert second.server_port not in (0, taken)
        for port in (taken, 65536, -1):
            inject("port that cannot be had")
            with pytest.raises(
                UserError, match=rf"port {port} of 127\.0\.0\.1 could not be used .*: name another with"
            ):
                web.listen(tmp_path, port)


def test_ctrl_c_is_the_end_of_a_server(tmp_path, capsys, inject):
    (tmp_path / "index.html").write_text("page")

    def main():
        with web.listen(tmp_path, 0) as server:
            timer = threading.Timer(0.1, lambda: get(server.server_port, "/") and signal.raise_signal(signal.SIGINT))
            timer.start()
            web.serve(server)

    inject("signal to a server")
    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    assert ended.value.code is None
    output, errors = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/  \(Ctrl-C ends\)\n", output)
    assert not errors


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


@pytest.fixture(scope="module")
def browser(site):
    """(Chromium, the address of the demo)."""
    api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not path:
        pytest.skip(f"no browser: none of {', '.join(CHROMIUM)}")
    with served(site.parent) as port, api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium, f"http://127.0.0.1:{port}/{site.name}/"
        chromium.close()


@pytest.fixture
def visit(browser):
    """Opens the demo in a context of its own, once it is ready to draw on; nothing may come from elsewhere, fail, or
    be said on the console."""
    (chromium, address), said, contexts = browser, [], []

    def start(place="", wait="nothing drawn yet", **settings):
        contexts.append(chromium.new_context(**{"viewport": {"width": 1000, "height": 700}, **settings}))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.on("request", lambda request: request.url.startswith(address) or said.append(request.url))
        page.on("response", lambda response: response.ok or response.status == 304 or said.append(response.url))
        page.goto(address + place)
        wait_for(page, wait)
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
    """Strokes on the page's paper, in its pixels; every sixth point will do."""
    page.evaluate("scrollTo(0, 0)")
    box = page.locator("#paper").bounding_box()
    thinned = [[*stroke[:-1:6], stroke[-1]] for stroke in strokes]
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
    for digit in "10":
        hand(page, drawing_of(digit))
        assert re.fullmatch(rf"{digit}, \d+ %", answer(page))
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
    assert undo.is_disabled() and clear.is_disabled()
    control_z, meta_z, escape, delete = (
        functools.partial(page.keyboard.press, key) for key in ("Control+z", "Meta+z", "Escape", "Delete")
    )
    draw(page, drawing_of("1"))
    before, line = answer(page), [[[0.1, 0.9], [0.9, 0.9]]]
    for take_back in (undo.click, control_z, meta_z):
        draw(page, line)
        assert answer(page) != before
        take_back()
        assert answer(page) == before
    for empty in (undo.click, clear.click, escape, delete):
        empty()
        wait_for(page, "nothing drawn yet")
        assert page.locator("#bars b").all_inner_texts() == [""] * 10
        assert page.locator("#hint").inner_text() == "Draw a digit, or several"
        draw(page, line)
        answer(page)
        assert page.locator("#hint").is_hidden()


def test_everything_is_reached_by_keyboard_and_seen_to_be(visit):
    page = visit(f"#{quote(SECOND)}")
    draw(page, drawing_of("1"))
    answer(page)
    page.locator("h1").click()
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        reached.append(focused.get_attribute("id") or focused.inner_text())
        assert focused.evaluate("focused => getComputedStyle(focused).outlineStyle") == "solid"
    classes = data.DATASETS["fashion-mnist"].classes
    before, after = ["Records", "run", "undo", "clear", "share"], ["layers", "previous", "next", "read", "report"]
    assert reached == [*before, *classes, *after]
    page.keyboard.press("Enter")
    page.get_by_text("the report").wait_for()


def test_a_run_is_chosen_and_stays_chosen(visit, trained):
    page, first = visit(), results.load(trained)
    assert page.locator("#run option").all_inner_texts()[:2] == ["first", SECOND]
    assert page.get_by_role("link", name="report").count() == 0
    facts, (low, high) = page.locator("#facts").inner_text(), first["final_test_accuracy_ci95"]
    assert f"{first['final_test_accuracy']:.2f} %" in facts
    assert f"of 10,000 test images; 95 % interval {low:.2f} to {high:.2f}" in facts
    assert re.search(rf"✓\s+parameters\s+{first['total_parameters']:,} < 20,000", facts)
    mark = "✓" if first["final_test_accuracy"] >= 99.4 else "✗"
    assert re.search(rf"{mark}\s+accuracy\s+{first['final_test_accuracy']:.2f} % [<≥] 99\.4 %", facts)
    choose = functools.partial(page.get_by_label("read by").select_option, SECOND)
    for act in (choose, page.reload):
        act()
        page.get_by_text("Ankle boot").wait_for()
        wait_for(page, "nothing drawn yet")
        assert page.locator("#hint").inner_text() == "Draw a picture"
        assert page.url.endswith(f"#{quote(SECOND)}")
        assert "of 10,000 held-out images" in page.locator("#facts").inner_text()
    page.go_back()
    page.locator("#bars", has_text="9").wait_for()
    wait_for(page, "nothing drawn yet")
    assert page.get_by_label("read by").input_value() == "first"


def test_mistakes_are_leafed_through_and_read_with_their_runner_up(visit):
    page = visit()
    leaf, read = page.locator("#leaf"), page.get_by_role("button", name="Read it")
    shown = min(int(re.search(r"reads (\d+) of 10,000", page.locator("#total").inner_text())[1]), export.MISTAKES)

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
    for look in (read.click, page.locator("#mistake").click):
        draw(page, drawing_of("1"))
        assert answer(page).startswith("1, ")
        look()
        page.locator("#note", has_text="true class").wait_for()
        _, true, read_as = told()
        assert answer(page) in (read_as, "?")
        assert read_as in page.locator("#status").inner_text()
        assert re.fullmatch(rf".*then \w+, \d+ %.*; true class {true}", page.locator("#note").inner_text())
        assert page.locator("#source").inner_text() == leaf.locator("#index").inner_text()
        page.keyboard.press("Control+z")
        wait_for(page, "nothing drawn yet")
    read.click()
    page.keyboard.press("ArrowLeft")  # from the first to the last
    page.locator("#note", has_text=f"true class {told()[1]}").wait_for()
    assert told()[0] == f"{shown} of {shown}"
    assert told()[2] in page.locator("#status").inner_text()


def beside(page, strokes, left, height):
    """Draw strokes at a place along x, so tall, in parts of the paper."""
    points = np.concatenate(strokes)
    low, scale = points.min(0), height / np.ptp(points, axis=0).max()
    draw(page, [((np.array(stroke) - low) * scale + [left, 0.3]).tolist() for stroke in strokes])


def test_digits_side_by_side_are_read_as_a_row_of_which_each_can_be_looked_at(visit):
    page = visit("#default")
    for place, digit in enumerate("472"):  # 4 and 7 of two strokes each
        drawn = [drawing["strokes"] for drawing in DRAWINGS if drawing["digit"] == digit]
        beside(page, max(drawn, key=len), 0.05 + 0.32 * place, 0.25)
    assert answer(page) == "472"
    assert page.locator("#bars .best").inner_text().startswith("2")
    assert page.locator("#rivals b").all_inner_texts() == ["472"] * 3
    digits, last = page.locator("#digits button"), content(page, "#layers li:nth-child(2) canvas")
    assert digits.all_inner_texts() == ["4", "7", "2"]
    digits.first.click()
    page.locator("#bars .best", has_text="4").wait_for()
    assert content(page, "#layers li:nth-child(2) canvas") != last
    page.locator("#bars").get_by_role("button", name="9", exact=True).click()
    page.locator("#rivals", has_text="fooled 1 of 1").wait_for()
    assert page.locator("#bars button:enabled").count() == 0
    digits.last.click()
    page.locator("#bars").get_by_role("button", name="2", exact=True).click()
    page.locator("#rivals", has_text="fooled 1 of 2").wait_for()
    page.reload()
    page.locator("#rivals li", has_text="fooled 1 of 2").nth(2).wait_for()
    beside(page, drawing_of("2"), 0.3, 0.06)
    assert answer(page).startswith("2, ")


def content(page, selector):
    """What is painted on a canvas."""
    return page.locator(selector).evaluate("canvas => canvas.toDataURL()")


def test_what_is_no_digit_is_not_answered(visit):
    page = visit("#default")
    draw(page, [[[0.1, 0.2], [0.9, 0.2]], [[0.1, 0.5], [0.9, 0.5]], [[0.1, 0.8], [0.9, 0.8]]])
    assert answer(page) == "?"
    assert re.fullmatch(r"perhaps \d, \d+ %; then \d, \d+ %(; or no digit)?", page.locator("#note").inner_text())
    assert page.locator("#rivals b").all_inner_texts() == ["?"] * 3


def test_every_layer_of_the_chosen_network_is_shown_in_words_and_pictures(visit, site):
    page = visit("#under5k", viewport={"width": 1280, "height": 800})
    expected = next(run["layers"] for run in facts_of(site)["runs"] if run["name"] == "under5k")
    rows = page.locator("#layers li")
    empty = [content(page, f"#layers li:nth-child({place + 2}) canvas") for place in range(len(expected))]
    draw(page, drawing_of("1"))
    answer(page)
    assert rows.count() == len(expected) + 1
    for place, layer in enumerate(expected):
        label = rows.nth(place + 1).locator("canvas").get_attribute("aria-label")
        assert label.startswith(f"{layer['kind']}, {layer['maps']} ")
        assert content(page, f"#layers li:nth-child({place + 2}) canvas") != empty[place]
    box = page.locator("#layers").bounding_box()
    assert box["y"] + box["height"] <= 800
    page.get_by_role("button", name="Clear").click()
    wait_for(page, "nothing drawn yet")
    assert content(page, "#layers li:nth-child(3) canvas") == empty[1]


def test_an_address_holds_the_run_and_the_drawing(visit):
    page = visit("#under5k")
    beside(page, drawing_of("5"), 0.5, 0.06)
    read = answer(page)
    page.get_by_role("button", name="Share").click()
    page.locator("#shared", has_text="The address holds your drawing").wait_for()
    place = page.url[page.url.index("#") :]
    assert re.fullmatch(r"#under5k&[\w-]{40,800}", place)
    opened = visit(place, wait=read)
    assert opened.get_by_label("read by").input_value() == "under5k"
    opened.get_by_role("button", name="Clear").click()
    for broken in ("#under5k&!", "#under5k&_", "#under5k&____"):
        page.evaluate("place => { location.hash = place }", broken)
        assert answer(page) == read


def test_a_telephone_has_room_for_paper_and_bars_in_light_and_dark(visit):
    page = visit(viewport={"width": 360, "height": 740})
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
    for scheme, motion in (("light", "no-preference"), ("dark", "reduce")):
        page.emulate_media(color_scheme=scheme, reduced_motion=motion)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        duration = page.locator(".bar i").first.evaluate("bar => getComputedStyle(bar).transitionDuration")
        assert (duration == "0s") == (motion == "reduce")


def test_the_page_of_records_needs_no_server_fits_a_telephone_and_leads_to_each_network(browser, site):
    page = browser[0].new_page(viewport={"width": 360, "height": 740})
    page.goto((site / "records.html").as_uri())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.goto(f"{browser[1]}records.html")
    page.locator("#default").get_by_role("link", name="Draw for it").click()
    wait_for(page, "nothing drawn yet")
    assert page.get_by_label("read by").input_value() == "default"
    page.get_by_role("link", name="Records").click()
    page.get_by_role("heading", name="MNIST-20K: records").wait_for()
    page.close()


@pytest.mark.parametrize(
    "pattern, answered, words",
    [
        ("**/*.packed", {"status": 404}, "ort-wasm-simd-threaded.wasm.packed could not be loaded: reload the page"),
        ("**/*.packed", {"body": "torn"}, "onnxruntime-web could not be unpacked"),
        ("**/first/model.onnx", {"body": "torn"}, "the network could not be started"),
        ("**/first/page.json", {"status": 404}, "runs/first/page.json could not be loaded"),
        ("**/runs.json", {"status": 404}, "runs.json could not be loaded"),
        ("**/*.packed", None, "loading the network"),
    ],
)
def test_the_page_tells_what_it_waits_for_and_what_failed(browser, inject, pattern, answered, words):
    page = browser[0].new_page()
    inject("answer that a page does not get")
    page.route(pattern, lambda route: route.fulfill(**answered) if answered else None)
    page.goto(browser[1])
    page.locator("#answer", has_text=words).wait_for()
    draw(page, [[[0.5, 0.2], [0.5, 0.8]]])
    assert page.locator("#bars .best").count() == 0
    assert (page.locator("#answer.failed").count() == 1) == bool(answered)
    page.unroute_all(behavior="ignoreErrors")
    page.close()


def test_a_page_opened_from_a_file_says_what_to_do(browser, site):
    page = browser[0].new_page()
    page.goto((site / "index.html").as_uri())
    assert "In the project: make demo" in page.locator("body").inner_text()
    page.close()


READ = """async ([drawings, box]) => {
  const [{ Network }, { rasterise }] = await Promise.all([import("./network.js"), import("./strokes.js")]);
  const ort = await import("./vendor/ort.wasm.bundle.min.mjs");
  const network = await Network.open(ort, "runs/first/model.onnx");
  const pictures = drawings.map((strokes) => rasterise(strokes, box)), shares = [];
  for (const { probabilities } of await network.read(pictures)) shares.push(Array.from(probabilities));
  return [pictures.map((picture) => Array.from(picture)), shares];
}"""


def extents(pixels):
    """(columns, rows) that the ink of a picture spans."""
    rows, columns = np.nonzero(pixels > 25)
    return np.ptp(columns) + 1, np.ptp(rows) + 1


def test_drawings_become_pictures_as_mnists_are_wherever_and_however_large_they_are(visit, mnist):
    page = visit()

    def read(drawings, box=20):
        """(uint8 [N, 28, 28], classes) of drawings."""
        pixels, shares = page.evaluate(READ, [drawings, box])
        return np.array(pixels, np.uint8).reshape(-1, 28, 28), np.argmax(shares, 1).tolist()

    drawings = [drawing["strokes"] for drawing in DRAWINGS]
    pictures, digits = read(drawings)
    assert digits == [int(drawing["digit"]) for drawing in DRAWINGS]
    moved, _ = read([[[[0.1 * x + 0.3, 0.1 * y + 0.2] for x, y in stroke] for stroke in each] for each in drawings])
    middles = np.arange(28) + 0.5
    for picture in pictures:
        assert 19 <= max(extents(picture)) <= 21
        ink = picture / picture.sum()
        assert (ink.sum(0) @ middles, ink.sum(1) @ middles) == pytest.approx((14.5, 14.5), abs=0.1)
    assert np.abs(moved.astype(int) - pictures).max() <= 1
    assert pictures.mean() == pytest.approx(mnist[1].pixels.float().mean().item(), rel=0.1)  # as much ink
    dot, tiny, nothing_new = read([[[[0.9, 0.1]]], [[[0.5, 0.5], [0.51, 0.5]]], [[[0.9, 0.1], [0.9, 0.1]]]])[0]
    assert max(extents(dot)) <= 4
    assert max(extents(tiny)) <= 5
    assert (dot == nothing_new).all()
    corners = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.2]]
    for picture in read([[corners], [corners[:3]]], 28)[0]:  # the second centred by its box, not by its ink
        assert extents(picture) == (28, 28)
