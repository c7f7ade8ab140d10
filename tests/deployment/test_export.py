"""Exported networks are the checkpoint's, in every format, and say what they are."""

import json
import re
import shutil

from support import UserError

import numpy as np
import onnx
import pytest
import spawned
import torch
from made_up import put, run

import checkpoint
import results
from deployment import c_header, export, onnx_format, safetensors_format
from deployment.quantize import Unavailable


@pytest.fixture(scope="module")
def exported(whole, small_folder, tmp_path_factory):
    """(folder, printed output) of a small run that was exported by the command. On 500 images the header may fall
    short by a single one."""
    run_dir, log = tmp_path_factory.mktemp("runs") / "small-seed0", tmp_path_factory.mktemp("log") / "export"
    shutil.copytree(whole[0], run_dir)
    status, output, errors = spawned.Script("deployment.export", [run_dir], small_folder, log).end()
    assert status == int("✗ mnist20k.h" in output), errors
    return run_dir, output


def test_every_format_is_written_verified_and_recorded(exported, small_mnist):
    run_dir, output = exported
    recorded = json.loads((run_dir / "export" / "export.json").read_bytes())
    found = results.read(run_dir)
    assert recorded["accuracy"] == pytest.approx(found["final_test_accuracy"])
    assert recorded["images"] == len(small_mnist[1])
    names = ["model.onnx", "model.safetensors"] + ["mnist20k.h"] * bool(shutil.which("cc"))
    assert list(recorded["formats"]) == names
    for name in names:
        entry = recorded["formats"][name]
        assert entry["bytes"] == (run_dir / "export" / name).stat().st_size
        assert entry["microseconds_per_image"] > 0
        assert re.search(rf"^[✓✗] {re.escape(name)} ", output, re.MULTILINE)
    assert "✓ model.onnx" in output
    assert "✓ model.safetensors" in output
    assert recorded["formats"]["model.onnx"]["read_otherwise"] == 0
    assert recorded["formats"]["model.onnx"]["logits_within"] < 1e-4


def test_onnx_takes_any_number_of_images_as_bytes_and_names_itself(exported, small_mnist):
    path, found = exported[0] / "export" / "model.onnx", results.read(exported[0])
    model, _ = checkpoint.load_model(exported[0])
    session = onnx_format.session(path.read_bytes())
    for count in (1, 7):
        images = small_mnist[1][:count]
        probabilities, logits = session.run(None, {"pixels": images.pixels.numpy()})
        with torch.no_grad():
            expected = model(images.to_float())
        assert logits == pytest.approx(expected.numpy(), abs=1e-4)
        assert probabilities == pytest.approx(expected.softmax(1).numpy(), abs=1e-5)
    facts = onnx_format.metadata(path)
    assert facts["recipe"] == "default"
    assert facts["parameters"] == str(found["total_parameters"])
    assert facts["test_accuracy"] == f"{found['final_test_accuracy']:.2f}"
    assert json.loads(facts["classes"]) == list("0123456789")
    assert facts["commit"] == found["environment"]["commit"]
    text = str(onnx.load(path))
    assert str(export.__file__).rsplit("/", 2)[0] not in text  # no path of this machine
    assert "stack_trace" not in text


def test_safetensors_are_the_weights_and_the_card_tells_the_run(exported, small_mnist):
    folder, found = exported[0] / "export", results.read(exported[0])
    pixels = small_mnist[1][:50].to_float()
    with torch.no_grad():
        logits, expected = safetensors_format.load(folder)(pixels), checkpoint.load_model(exported[0])[0](pixels)
    assert torch.allclose(logits, expected, atol=1e-5)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n")
    assert card.count("\n---\n") == 1  # the end of the front matter
    assert f"test accuracy | {found['final_test_accuracy']:.2f} %" in card
    assert "| batch_size | 100 |" in card
    snippet = card.split("```python\n")[1].split("```")[0]
    assert "model.onnx" in snippet
    compile(snippet, "card", "exec")


def test_the_network_is_exported_again_only_when_its_weights_have_changed(exported, monkeypatch):
    loaded = export.load_run(exported[0])
    written = []
    monkeypatch.setattr(onnx_format, "write", lambda *arguments: written.append(arguments))
    path = export.onnx_path(loaded)
    assert not written
    assert path == exported[0] / "export" / "model.onnx"
    with torch.no_grad():
        next(loaded.model.parameters()).add_(1)
    export.onnx_path(loaded)
    assert len(written) == 1


def test_a_format_that_falls_short_fails(exported, small_mnist, monkeypatch, capsys):
    """A header that reads images otherwise, an ONNX file with other logits."""
    outputs = c_header.outputs

    def wrong(path, pixels, num_classes):
        probabilities, microseconds = outputs(path, pixels, num_classes)
        return np.roll(probabilities, 1, axis=1), microseconds

    monkeypatch.setattr(c_header, "outputs", wrong)
    monkeypatch.setattr(export, "LOGITS_TOLERANCE", 0.0)
    assert export.main([str(exported[0])]) == 1
    output = capsys.readouterr().out
    assert "✗ model.onnx" in output
    assert "✓ model.safetensors" in output
    assert "✗ mnist20k.h" in output or not shutil.which("cc")


def test_a_network_without_a_header_keeps_the_other_formats(exported, small_mnist, monkeypatch, capsys):
    def refuse(*arguments):
        raise Unavailable("it has no step for the operator Softplus")

    monkeypatch.setattr(c_header, "quantize", refuse)
    assert export.main([str(exported[0])]) == 0
    output, errors = capsys.readouterr()
    assert "warning: no mnist20k.h: it has no step for the operator Softplus" in errors
    assert "mnist20k.h" not in output
    assert not (exported[0] / "export" / "mnist20k.h").exists()  # nor one of other weights


def test_what_cannot_be_exported_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"no results\.json in .*make train"):
        export.main([str(tmp_path)])
    put(tmp_path, {"half": run(99.2, finished=False)})
    with pytest.raises(UserError, match="half is not finished: make train resumes it"):
        export.main([str(tmp_path / "half")])
