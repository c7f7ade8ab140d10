"""Students' folders, honest and not, judged in one go."""

import csv
import json
import shutil

from support import cli

import pytest

import checkpoint
import results
from reporting import grade

pytestmark = pytest.mark.process
BOUNDS = "--minimum", "0", "--minimum-class", "0"
OTHER = """
import time

class Other(nn.Sequential):
    def forward(self, images):
        {}
        return super().forward(images)

ARCHITECTURES["default"] = lambda num_classes: Other(*default(num_classes))
"""


@pytest.fixture
def student(two_epochs, tmp_path):
    """Makes a student's folder: a run, and model.py with more code."""

    def make(name, code="", run=two_epochs):
        shutil.copytree(run, tmp_path / name / "results" / "mine")
        shutil.copy(cli.ROOT / "published.toml", tmp_path / name)
        text = (cli.ROOT / "model.py").read_text(encoding="utf-8")
        (tmp_path / name / "model.py").write_text(text + code, encoding="utf-8")
        return tmp_path / name

    return make


@pytest.fixture
def judge(mnist_folder, capfd):
    """Grades folders on the real images; returns what is printed, to which no student adds."""

    def run(*arguments):
        capfd.readouterr()
        grade.main(list(map(str, [*BOUNDS, "--data", mnist_folder, *arguments])))
        return capfd.readouterr().out

    return run


def test_a_class_is_graded_whatever_its_students_did(student, judge, trained, tmp_path, inject):
    good, forged = student("good", 'print("noise")\n', trained), student("forged", run=trained)
    broken, empty = student("broken", "def mine(num_classes:\n"), student("empty")
    results.save(forged / "results" / "mine", results.load(trained) | {"final_test_accuracy": 99.9})
    checkpoint.remove(empty / "results" / "mine")
    inject("student's folder that is not what it should be", 4)
    folders, table = [good, forged, broken, empty, tmp_path / "missing"], tmp_path / "grades.csv"
    rows = json.loads(judge(*folders, "--minimum", 95, "--json", "--csv", table))
    assert [row["student"] for row in rows] == list(map(str, folders))
    good, forged, *others = rows
    assert " ".join(good["rules"]) == "parameters epochs accuracy rules worst class results.json unseen"
    assert good["accuracy %"] == forged["accuracy %"] == results.load(trained)["final_test_accuracy"]
    (wrong,) = forged["broken"]
    assert wrong.startswith("results.json final_test_accuracy is 99.9, by the checkpoint ")
    told = "SyntaxError: '(' was never closed", "results/ has no finished run", "no such folder"
    assert all(start in row["problem"] for row, start in zip(others, told, strict=True))
    points = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [row["points"] for row in points] == list("76000")
    assert [row["results.json"] for row in points] == ["1", "0", "", "", ""]
    assert [row["accuracy %"] for row in points] == [str(row["accuracy %"] or "") for row in rows]


def test_a_network_without_an_end_is_given_up(student, judge, inject):
    inject("student's code that is hostile")
    endless = student("endless", OTHER.format("while True: time.sleep(1)"))
    assert "not done within 5 s: a loop without end?" in judge(endless, "--limit", 5)


CODE = [
    (OTHER.format("images = images + 1"), "holds another model: 'default' has changed since in model.py"),
    ("import os\nos._exit(0)", "its process ended with status 0"),
    ("import os\nos.kill(os.getpid(), 9)", "its process was killed by SIGKILL"),
    ("raise SystemExit", "its process ended with status 0"),
    ("bytearray(2**40)", "out of memory"),
    ("raise ValueError('\\x1b[2J never ' * 99)", "ValueError: ?[2J never ?[2J never"),
]


@pytest.mark.parametrize(("code", "problem"), CODE)
def test_what_a_students_code_does_is_its_row(student, judge, tmp_path, inject, code, problem):
    inject("student's code that is hostile")
    first, last = judge(student("mallory", code), tmp_path / "missing").splitlines()
    assert problem in first and "   0  " in first
    assert last.endswith("no such folder")
