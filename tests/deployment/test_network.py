"""The networks that read: the committed ones are what their records say, and a run of one's own is found first."""

import dataclasses
import json
import shutil

from support import UserError

import numpy as np
import pytest
import torch
from made_up import put, run

import checkpoint
import evaluate
import results
from deployment import network
from experiments import calibration

RECORDS = [path for path in sorted(results.RECORDS.glob("*.onnx")) if path != network.DETECTOR]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_committed_network_is_the_first_seed_of_its_record(path):
    found, record = network.Network(path), json.loads(path.with_suffix(".json").read_bytes())
    first = record["runs"][0]
    facts = {name: found.facts[name] for name in ("recipe", "seed", "parameters", "accuracy", "dataset")}
    assert facts == {
        "recipe": path.stem,
        "seed": first["seed"],
        "parameters": record["total_parameters"],
        "accuracy": first["final_test_accuracy"],
        "dataset": record["recipe"]["dataset"],
    }
    assert record["calibration"] == {name: found.facts[name] for name in ("temperature", "threshold")}
    assert path.stat().st_size <= 80_000
    assert "-dirty" not in found.facts["commit"]


def test_the_default_networks_probabilities_are_what_they_say_and_it_answers_what_is_a_digit(mnist):
    found = network.Network(results.RECORDS / "default.onnx")
    pixels, labels = mnist[1].pixels[:, 0].numpy(), mnist[1].labels
    probabilities = found.read(pixels)
    evaluation = evaluate.Evaluation(torch.from_numpy(probabilities).log(), labels, tuple(found.classes))
    assert evaluation.accuracy == pytest.approx(found.facts["accuracy"], abs=0.015)  # an image may change sides
    assert evaluation.calibration_error < 0.5
    sure = found.is_sure(probabilities, network.detector().read(pixels))
    assert sure.mean() > 0.96
    wrong = probabilities.argmax(1) != labels.numpy()
    assert wrong[sure].mean() < 0.7 * wrong.mean()
    turned = np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))
    sideways = found.is_sure(found.read(turned), network.detector().read(turned))
    assert sideways[np.isin(labels.numpy(), (2, 3, 4, 5, 6, 7, 9))].mean() < 0.15


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty results/, with the committed network of default."""
    folder = tmp_path / "results"
    (folder / "records").mkdir(parents=True)
    shutil.copyfile(results.RECORDS / "default.onnx", folder / "records" / "default.onnx")
    monkeypatch.setattr(results, "RUNS", folder)
    monkeypatch.setattr(results, "RECORDS", folder / "records")
    return folder


def test_without_a_run_the_best_record_reads_and_a_run_that_was_not_trained_here_is_its_record(place):
    assert network.find().name == "default"
    assert network.find(place / "default-seed0").name == "default"
    assert network.find(place / "records" / "default.onnx").name == "default"
    with pytest.raises(UserError, match=r"no results.json in .*default-seed1: make train"):
        network.find(place / "default-seed1")
    (place / "records" / "default.onnx").unlink()
    with pytest.raises(UserError, match=r"no finished run with checkpoints in .*: make train"):
        network.find()


@pytest.mark.process
def test_a_run_is_exported_once_and_again_when_it_was_trained_again(place, whole, capfd, small_mnist):
    own = shutil.copytree(whole[0], place / "mine")
    found = network.find()
    assert found.name == "mine"
    assert "exporting mine once" in capfd.readouterr().err
    images = small_mnist[1]
    model, state = checkpoint.load_model(own)
    logits = evaluate.evaluate(model, images, tuple(state["classes"])).logits
    expected = (logits / found.facts["temperature"]).softmax(1)
    assert found.read(images.pixels[:, 0].numpy()) == pytest.approx(expected.numpy(), abs=1e-4)
    network.find()
    assert not capfd.readouterr().err
    results.results_path(own).touch()
    network.find(own)
    assert "exporting mine once" in capfd.readouterr().err


def test_a_file_that_is_no_network_is_told_and_so_is_a_run_that_cannot_be_exported_here(place, monkeypatch, inject):
    inject("file that is no network")
    (place / "records" / "default.onnx").write_bytes(b"no")
    with pytest.raises(UserError, match=r"default.onnx is no network of this program: make export writes one"):
        network.find()
    put(place, {"mine": run(99.5)})
    monkeypatch.setattr(network.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="was not exported yet, which needs more packages: make export RUN="):
        network.find(place / "mine")


def test_the_temperature_is_the_one_by_which_logits_were_sharpened_and_the_bound_lets_its_share_pass():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 10, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    evaluation = evaluate.Evaluation(2.5 * logits, labels, tuple("0123456789"))
    fitted = calibration.fit(evaluation, None)
    assert fitted["temperature"] == pytest.approx(2.5, rel=0.06)
    calibrated = dataclasses.replace(evaluation, temperature=fitted["temperature"])
    assert calibrated.calibration_error < 0.3 * evaluation.calibration_error
    sure = network.sureness(calibrated.confidences.numpy()) >= fitted["threshold"]
    assert sure.mean() == pytest.approx(calibration.ANSWERED, abs=1e-3)


def test_a_run_is_calibrated_by_what_it_held_out(train_small, mnist_folder, tmp_path):
    train_small("--epochs", "6", "--holdout", "true", "--validation-images", "400")
    fitted = calibration.fit(*calibration.evaluated(tmp_path / "run", mnist_folder))
    assert fitted["temperature"] != 1
    measured = calibration.measure(tmp_path / "run", mnist_folder, fitted)
    assert measured["answered"] == pytest.approx(100 * calibration.ANSWERED, abs=0.3)  # of the same images
    assert len(measured["coverage"]) == len(evaluate.ANSWERED)
