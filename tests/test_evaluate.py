import json

from support import UserError, intervals

import pytest
import spawned
import torch

import checkpoint
import evaluate
import results

DIGITS = tuple("0123456789")


@pytest.fixture
def by_hand():
    """Five images: the digits 0, 0, 1, 2 and 9, of which the second 0 is taken for a 9 and the 2 for a 1."""
    logits = torch.full((5, 10), -10.0)
    for image, predicted in enumerate([0, 9, 1, 1, 9]):
        logits[image, predicted] = 10.0
    return evaluate.Evaluation(logits, torch.tensor([0, 0, 1, 2, 9]), DIGITS)


def test_figures_of_a_case_made_by_hand_have_true_digits_in_rows(by_hand):
    assert by_hand.accuracy == 60.0
    assert by_hand.misclassified == [1, 3]
    assert by_hand.per_class_accuracy == {"0": 50.0, "1": 100.0, "2": 0.0, "9": 100.0}
    assert by_hand.by_class["0"] == (2, 1, 50.0, intervals.wilson_interval(50, 2))
    assert by_hand.loss == pytest.approx(2 * 20 / 5, abs=1e-3)  # a wrong image costs the 20 between its two logits
    assert by_hand.confusion.nonzero().tolist() == [[0, 0], [0, 9], [1, 1], [2, 1], [9, 9]]
    lines = evaluate.format_evaluation(by_hand).splitlines()
    head = next(line for line in lines if line.startswith("| true"))
    row = next(line for line in lines if line.startswith("| 2 "))
    assert row[head.index(" 1 ") + 1] == "1"


def test_the_most_confident_mistakes_come_first():
    logits = torch.zeros(3, 10)
    logits[0, 1], logits[1, 2], logits[2, 2] = 1.0, 5.0, 9.0
    found = evaluate.Evaluation(logits, torch.tensor([0, 1, 2]), DIGITS)
    assert found.misclassified == [1, 0]
    assert [mistake["predicted"] for mistake in found.summary()["misclassified"]] == ["2", "1"]
    assert found.summary()["misclassified"][0]["confidence"] == pytest.approx(logits[1].softmax(0)[2].item())


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidence = torch.tensor([0.95] * 4 + [0.55] * 2)  # two bins: all of the first right, none of the other
    logits = torch.zeros(6, 10)
    logits[:, 3] = (9 * confidence / (1 - confidence)).log()
    labels = torch.tensor([3, 3, 3, 3, 4, 4])
    error = evaluate.Evaluation(logits, labels, DIGITS).calibration_error
    assert error == pytest.approx(100 * (4 * 0.05 + 2 * 0.55) / 6, abs=1e-3)


def test_a_signal_stops_an_evaluation_with_a_line(launch_script, two_epochs, inject):
    inject("signal in evaluation")
    fault = spawned.Before(spawned.EVALUATION, spawned.terminate)
    assert launch_script("evaluate", two_epochs, fault=fault).end() == (143, "", "evaluate.py: stopped by SIGTERM\n")


def test_a_run_is_evaluated_from_its_newest_whole_checkpoint(finished, capsys, inject):
    history = results.load(finished)["history"]
    for epoch in (2, 1):
        evaluate.main([str(finished), "--device", "cpu"])
        output, errors = capsys.readouterr()
        record = json.loads((finished / "evaluation.json").read_bytes())
        assert f"accuracy {record['accuracy']:.2f} %" in output
        assert f"epoch {epoch}, 500 test images" in output
        assert (record["epoch"], record["images"], sum(map(sum, record["confusion"]))) == (epoch, 500, 500)
        assert len(record["misclassified"]) == round(500 * (1 - record["accuracy"] / 100))
        assert record["accuracy"] == history[epoch - 1]["test_accuracy"]
        assert record["loss"] == pytest.approx(history[epoch - 1]["test_loss"])
        newest = checkpoint.epochs(finished)[2]
        assert (str(newest) in errors) == (epoch == 1)
        newest.write_bytes(newest.read_bytes()[:-1])
        inject("damaged checkpoint")
    checkpoint.remove(finished)
    with pytest.raises(UserError, match="make train"):
        evaluate.main([str(finished), "--device", "cpu"])
