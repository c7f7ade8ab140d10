"""The command that reads pictures: which are meant, what is printed, and what is refused."""

import io
import json
import re
import sys
from pathlib import Path

from support import cli

import drawings
import numpy as np
import pytest
from test_pictures import content, seven

import results
from deployment import network, predict


@pytest.fixture(autouse=True)
def no_runs(tmp_path, monkeypatch):
    """Committed networks read: there are no runs."""
    monkeypatch.setattr(results, "RUNS", tmp_path / "results")


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


def call(capsys, *words):
    status = predict.main([*map(str, words), "--run", str(results.RECORDS / "default.onnx")])
    return status, *capsys.readouterr()


def test_each_picture_is_a_line_with_its_class_and_three_probabilities(folder, capsys):
    status, output, errors = call(capsys, folder)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    names = [line.split("  ")[0].split("my scans/")[1] for line in lines]
    assert names == ["2.png", "10.png", "a seven.JPG", "über.webp"]  # in a person's order
    for line in lines:
        shares = re.fullmatch(r".*\S +(\d +\d+\.\d %)" + r"   (\d +\d+\.\d %)" * 2, line).groups()
        assert len({share[0] for share in shares}) == 3
    assert len({line.index(" %") for line in lines}) == 1  # aligned


def test_json_is_for_programs(folder, capsys):
    status, output, errors = call(capsys, "none.png", folder / "2.png", folder / "notes.txt", "--json")
    assert (status, errors) == (1, "")
    missing, right, wrong = json.loads(output)  # in the order in which they were named
    assert missing["error"] == "none.png could not be read (No such file or directory)"
    assert right["file"] == str(folder / "2.png")
    assert right["class"] == max(right["probabilities"], key=right["probabilities"].get)
    assert sum(right["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert list(right["probabilities"]) == list("0123456789")
    assert wrong["error"].startswith(f"{folder / 'notes.txt'} is ")
    assert set(wrong) == {"file", "error"}


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
    names = predict.named_files([word.format(folder=folder) for word in words])
    assert sum(Path(name).is_file() for name in names) == count
    assert len(names) == count or not count


def test_standard_input_is_a_picture(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content(seven()))))
    status, output, _ = call(capsys, "-")
    assert status == 0
    assert output.startswith("-  ")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("{folder}/none.png", r"none.png could not be read \(No such file"),
        ("{folder}/*.gif", r"\*.gif could not be read \(No such file"),
        ("{folder}/notes.txt", "is (text|damaged)"),
        ("{folder}/folder.png", "no pictures in .*folder.png"),
    ],
)
def test_what_is_no_picture_is_a_line_and_the_others_are_read(word, message, folder, capsys, inject):
    inject("file that is no picture")
    status, output, errors = call(capsys, f"'{word.format(folder=folder)}'", folder / "2.png")
    assert status == 1
    assert len(output.splitlines()) == 1
    assert re.search(message, errors)
    assert len(errors.splitlines()) == 1


def test_a_file_too_large_for_the_memory_is_a_line_and_the_others_are_read(folder, capsys, inject):
    inject("file that is no picture")
    with open(folder / "film.png", "wb") as film:
        film.truncate(2**40)
    status, output, errors = call(capsys, folder / "film.png", folder / "2.png")
    assert (status, output.count("\n")) == (1, 1)
    assert errors.endswith("film.png has more than 200 MB: scale it down, or cut out the digits\n")


def postcode(*labels):
    """Digits drawn side by side, an empty place for a space."""
    rng, page = np.random.default_rng(0), np.zeros((160, 70 * len(labels) + 80), np.float32)
    for place, label in enumerate(labels):
        if label != " ":
            page[10:150, 70 * place : 70 * place + 140] += drawings.drawn(label, rng, 70, 7)
    return drawings.eight_bits(drawings.paint(np.minimum(page, 1)))


def test_a_row_is_a_line_with_the_probability_of_each_digit(folder, capsys):
    postcode(*"42017").save(folder / "code.png")
    _, output, _ = call(capsys, folder / "code.png")
    assert re.fullmatch(r".*code.png  42017   \((\d+ ){5}%\)\n", output)
    postcode(*"555 123").save(folder / "code.png")
    _, output, _ = call(capsys, folder / "code.png", "--json")
    (row,) = json.loads(output)
    assert (row["text"], row["unsure"]) == ("555 123", False)
    lefts = [digit["box"][0] for digit in row["digits"]]
    assert [round((left - lefts[0]) / 70) for left in lefts] == [0, 1, 2, 4, 5, 6]
    assert "class" not in row


def test_where_it_is_unsure_it_says_so_with_its_two_best_guesses(folder, capsys, monkeypatch):
    monkeypatch.setattr(network.Network, "is_sure", lambda self, read, kinds, doubt: read.max(1) > 1)
    _, output, _ = call(capsys, folder / "2.png")
    assert re.search(r"  \?   7 +\d+\.\d %   \d +\d+\.\d %\n$", output)
    _, output, _ = call(capsys, folder / "2.png", "--json")
    assert [(each["text"], each["unsure"], each["class"]) for each in json.loads(output)] == [("?", True, "7")]


def test_a_terminal_shows_what_the_network_saw(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(cli, "columns", lambda: 40)
    postcode(*"123").save(folder / "code.png")
    _, output, _ = call(capsys, folder / "code.png")
    lines = output.splitlines()[1:]
    assert 10 <= len(lines) <= 28  # two side by side, one below
    assert set("".join(lines)) <= set(predict.BLOCKS)
    assert max(map(len, lines)) <= 28


def test_without_a_picture_it_says_how(capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main([])
    assert stop.value.code == 2
    assert "make predict IMAGE=my.png" in capsys.readouterr().err
