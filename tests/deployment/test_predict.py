"""The command that reads pictures: which are meant, what is printed, and what is refused."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

from support import UserError

import numpy as np
import pytest
from made_up import put, run
from PIL import Image
from test_pictures import content, seven

import results
from deployment import predict


@pytest.fixture
def run_dir(whole):
    return whole[0]


@pytest.fixture
def folder(tmp_path):
    """A folder of pictures, with what is none."""
    place = tmp_path / "my scans"
    place.mkdir()
    for name in ("2.png", "10.png", "a seven.JPG", "über.webp"):
        seven().save(place / name)
    (place / "notes.txt").write_text("not a picture")
    (place / "folder.png").mkdir()
    return place


def call(capsys, run_dir, *words):
    status = predict.main([*map(str, words), "--run", str(run_dir), "--device", "cpu"])
    return status, *capsys.readouterr()


def test_each_picture_is_a_line_with_its_class_and_three_probabilities(run_dir, folder, capsys):
    status, output, errors = call(capsys, run_dir, folder)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    names = [line.split("  ")[0].split("my scans/")[1] for line in lines]
    assert names == ["2.png", "10.png", "a seven.JPG", "über.webp"]  # in a person's order
    for line in lines:
        shares = re.fullmatch(r".*\S +(\d +\d+\.\d %)" + r"   (\d +\d+\.\d %)" * 2, line).groups()
        assert len({share[0] for share in shares}) == 3
    assert len({line.index(" %") for line in lines}) == 1  # aligned


def test_json_is_for_programs(run_dir, folder, capsys):
    status, output, errors = call(capsys, run_dir, "none.png", folder / "2.png", folder / "notes.txt", "--json")
    assert (status, errors) == (1, "")
    missing, right, wrong = json.loads(output)  # in the order in which they were named
    assert missing["file"] == "none.png"
    assert right["file"] == str(folder / "2.png")
    assert right["class"] == max(right["probabilities"], key=right["probabilities"].get)
    assert sum(right["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert list(right["probabilities"]) == list("0123456789")
    assert wrong["error"].startswith(f"{folder / 'notes.txt'} is ")
    assert set(wrong) == {"file", "error"}


def test_what_the_network_saw_is_written(run_dir, folder, capsys, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    _, output, _ = call(capsys, copy, folder / "a seven.JPG", folder / "2.png", "--show")
    paths = re.findall(r"seen as (.*\.png)", output)
    assert paths == [str(copy / "predictions" / name) for name in ("001-a seven.png", "002-2.png")]
    seen = np.asarray(Image.open(paths[0]))
    assert seen.shape == (280, 280)
    assert seen.max() == 255
    assert seen[:, 0].max() == 0


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["{folder}/2.png", "{folder}/10.png"], 2),
        (["{folder}/*.png"], 2),
        (["{folder}/2.png {folder}/10.png"], 0),  # the folder's own space divides these
        (["'{folder}/2.png' '{folder}/10.png'"], 2),
        (["'{folder}'"], 4),
        (["{folder}/a seven.JPG"], 1),
    ],
)
def test_files_folders_and_patterns_are_found_also_in_one_word_of_make(words, count, folder):
    predictions = predict.unread_predictions([word.format(folder=folder) for word in words])
    paths = [each["file"] for each in predictions if "error" not in each]
    assert len(paths) == count
    assert all(Path(path).is_file() for path in paths)


def test_standard_input_is_a_picture(run_dir, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content(seven()))))
    status, output, _ = call(capsys, run_dir, "-")
    assert status == 0
    assert output.startswith("-  ")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("{folder}/none.png", "there is no .*none.png"),
        ("{folder}/*.gif", "there is no .*gif: expected a file, a pattern"),
        ("{folder}/notes.txt", "is (text|no picture)"),
        ("{folder}/folder.png", "no pictures in .*folder.png"),
    ],
)
def test_what_is_no_picture_is_a_line_and_the_others_are_read(word, message, run_dir, folder, capsys, inject):
    inject("file that is no picture")
    status, output, errors = call(capsys, run_dir, f"'{word.format(folder=folder)}'", folder / "2.png")
    assert status == 1
    assert len(output.splitlines()) == 1
    assert re.search(message, errors)
    assert len(errors.splitlines()) == 1


def test_a_file_too_large_for_the_memory_is_a_line_and_the_others_are_read(run_dir, folder, capsys, inject):
    inject("file that is no picture")
    with open(folder / "film.png", "wb") as film:
        film.truncate(2**40)
    status, output, errors = call(capsys, run_dir, folder / "film.png", folder / "2.png")
    assert (status, output.count("\n")) == (1, 1)
    assert errors.endswith("film.png has more than 200 MB: scale it down, or cut out the digit\n")


def test_the_best_finished_run_reads_where_none_is_named(tmp_path, monkeypatch, folder, run_dir, capsys):
    monkeypatch.setattr(results, "RUNS", tmp_path / "results")
    with pytest.raises(UserError, match=r"no finished run .*: make train"):
        predict.main([str(folder / "2.png")])
    put(tmp_path / "results", {"half": run(99.9, finished=False)})
    shutil.copytree(run_dir, tmp_path / "results" / "whole")
    assert predict.main([str(folder / "2.png"), "--device", "cpu"]) == 0
    assert capsys.readouterr().out


def test_without_a_picture_it_says_how(capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main([])
    assert stop.value.code == 2
    assert "make predict IMAGE=my.png" in capsys.readouterr().err
