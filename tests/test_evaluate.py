import json

from support import UserError

import pytest
import spawned
import torch

import evaluate
import train
from reporting import plots

DIGITS = tuple("0123456789")


@pytest.fixture
def by_hand():
    """Five images: the digits 0, 0, 1, 2 and 9, of which the second 0 is taken for a 9 and the 2 for a 1."""
    logits = torch.full((5, 10), -10.0)
    for image, predicted in enumerate([0, 9, 1, 1, 9]):
        logits[image, predicted] = 10.0
    return evaluate.Evaluation(logits, torch.tensor([0, 0, 1, 2, 9]), DIGITS)


def test_figures_of_a_case_made_by_hand(by_hand):
    assert by_hand.accuracy == 60.0
    assert by_hand.misclassified == [1, 3]
    assert by_hand.per_class_accuracy == {"0": 50.0, "1": 100.0, "2": 0.0, "9": 100.0}
    assert by_hand.loss == pytest.approx(2 * 20 / 5, abs=1e-3)  # a wrong image costs the 20 between its two logits


def test_the_most_confident_mistakes_come_first():
    logits = torch.zeros(3, 10)
    logits[0, 1], logits[1, 2], logits[2, 2] = 1.0, 5.0, 9.0
    found = evaluate.Evaluation(logits, torch.tensor([0, 1, 2]), DIGITS)
    assert found.misclassified == [1, 0]
    assert [mistake["predicted"] for mistake in found.summary()["misclassified"]] == ["2", "1"]
    assert found.summary()["misclassified"][0]["confidence"] == pytest.approx(logits[1].softmax(0)[2].item())


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidence = torch.tensor(
        [0.95, 0.95, 0.95, 0.95, 0.55, 0.55]
    )  # two bins: all of the first right, none of the other
    logits = torch.zeros(6, 10)
    logits[:, 3] = (9 * confidence / (1 - confidence)).log()
    labels = torch.tensor([3, 3, 3, 3, 4, 4])
    error = evaluate.Evaluation(logits, labels, DIGITS).calibration_error
    assert error == pytest.approx(100 * (4 * 0.05 + 2 * 0.55) / 6, abs=1e-3)


def test_confusion_has_true_digits_in_rows(by_hand):
    expected = torch.zeros(10, 10, dtype=torch.long)
    for true, predicted in ((0, 0), (0, 9), (1, 1), (2, 1), (9, 9)):
        expected[true, predicted] += 1
    assert by_hand.confusion.equal(expected)


def test_the_counts_stand_under_their_digits(by_hand):
    lines = evaluate.format_evaluation(by_hand).splitlines()
    head = next(line for line in lines if line.startswith("| true"))
    row = next(line for line in lines if line.startswith("| 2 "))
    assert row[head.index(" 1 ") + 1] == "1"
    assert len(row) == len(head)


def test_a_run_is_evaluated_from_its_newest_checkpoint(train_small, tmp_path, capsys):
    train_small("--epochs", 2)
    assert evaluate.main([str(tmp_path / "run"), "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    accuracy = train.results.read(tmp_path / "run")["final_test_accuracy"]
    assert f"accuracy {accuracy:.2f} %" in output
    assert "epoch 2" in output
    assert "misclassified" in output
    found = json.loads((tmp_path / "run" / "evaluation.json").read_bytes())
    assert found["accuracy"] == accuracy
    assert (found["epoch"], found["images"], sum(map(sum, found["confusion"]))) == (2, 500, 500)
    assert len(found["misclassified"]) == round(500 * (1 - accuracy / 100))
    assert plots.main([str(tmp_path / "run")]) == 0
    for name in ("per_class.png", "confusion.png", "misclassified.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_without_a_checkpoint_the_remedy_is_named(tmp_path):
    with pytest.raises(UserError, match="make train"):
        evaluate.main([str(tmp_path), "--device", "cpu"])


def test_dropout_is_off(small_mnist):
    network = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.Flatten(), torch.nn.Linear(784, 10))
    _, test = small_mnist
    first, second = (evaluate.evaluate(network, test, DIGITS).logits for _ in range(2))
    assert first.equal(second)


@pytest.mark.parametrize(("act", "status"), [(spawned.terminate, 143), (spawned.interrupt, 130)])
def test_a_signal_stops_an_evaluation_with_a_line(launch, launch_script, tmp_path, inject, act, status):
    assert launch("--epochs", 1).end()[0] == 0
    inject("signal in evaluation")
    name = "SIGTERM" if status == 143 else "Ctrl-C"
    ended = launch_script("evaluate", tmp_path / "run", fault=spawned.InEvaluation(act)).end()
    assert ended == (status, "", f"evaluate.py: stopped by {name}\n")


def test_a_damaged_checkpoint_is_named_and_the_one_before_evaluated(train_small, tmp_path, capsys, inject):
    train_small("--epochs", 2)
    newest = tmp_path / "run" / "checkpoints" / "epoch_002.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    inject("damaged checkpoint")
    assert evaluate.main([str(tmp_path / "run"), "--device", "cpu"]) == 0
    output, errors = capsys.readouterr()
    assert "epoch 1" in output
    assert str(newest) in errors
