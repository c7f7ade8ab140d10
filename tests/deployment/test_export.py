"""Exported networks are the checkpoint's, in every format, and say what they are."""

import json
import re
import shutil
from unittest.mock import Mock

from support import UserError

import numpy as np
import onnx
import pytest
import spawned
import torch
from made_up import put, run

import checkpoint
import data
import results
from deployment import c_header, export, network, safetensors_format
from deployment.onnx_format import Unavailable

pytestmark = pytest.mark.process

HAS_COMPILER = any(map(shutil.which, c_header.COMPILERS))
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="no C compiler")


@pytest.fixture(scope="module")
def exported(whole, small_folder, tmp_path_factory):
    """(folder, exit status, printed output) of a small run that was exported by the command."""
    run_dir, log = tmp_path_factory.mktemp("runs") / "small-seed0", tmp_path_factory.mktemp("log") / "export"
    shutil.copytree(whole[0], run_dir)
    status, output, errors = spawned.Script("deployment.export", [run_dir], small_folder, log).end()
    assert ("no mnist20k.h: there is no C compiler" in errors) != HAS_COMPILER
    return run_dir, status, output


def test_every_format_is_written_verified_and_recorded(exported, small_mnist):
    run_dir, status, output = exported
    recorded = json.loads((run_dir / "export" / "export.json").read_bytes())
    assert recorded["accuracy"] == pytest.approx(results.load(run_dir)["final_test_accuracy"])
    assert recorded["images"] == len(small_mnist[1])
    formats = recorded["formats"]
    assert list(formats) == ["model.onnx", "model.safetensors"] + ["mnist20k.h"] * HAS_COMPILER
    assert formats["model.onnx"]["logits_within"] < 1e-4
    assert formats["model.safetensors"]["logits_within"] == 0
    passed = dict.fromkeys(formats, True)
    if HAS_COMPILER:  # of 500 images, a few that its rounding decides make it fall short
        passed["mnist20k.h"] = formats["mnist20k.h"]["read_otherwise"] <= 2
        assert formats["mnist20k.h"]["read_otherwise"] <= 5
        assert formats["mnist20k.h"]["self_test_passed"]
    assert status == int(not all(passed.values()))
    for name, entry in formats.items():
        assert passed[name] == (f"✓ {name} " in output) != (f"✗ {name} " in output)
        assert entry["bytes"] == (run_dir / "export" / name).stat().st_size
        assert entry["read_otherwise"] == 0 or name == "mnist20k.h"


def test_onnx_takes_any_number_of_images_as_bytes_and_names_itself(exported, small_mnist):
    path, found = exported[0] / "export" / "model.onnx", results.load(exported[0])
    model, _ = checkpoint.load_model(exported[0])
    session = network.session(path.read_bytes())
    temperature = results.calibration("default")["temperature"]
    for count in (1, 7):
        images = small_mnist[1][:count]
        probabilities, logits = session.run(None, {"pixels": images.pixels.numpy()})
        with torch.no_grad():
            expected = model(images.to_float()) / temperature
        assert logits == pytest.approx(expected.numpy(), abs=1e-4)
        assert probabilities == pytest.approx(expected.softmax(1).numpy(), abs=1e-5)
    exported_model = onnx.load(path)
    facts = {each.key: each.value for each in exported_model.metadata_props}
    assert facts["recipe"] == "default"
    assert facts["parameters"] == str(found["total_parameters"])
    assert float(facts["accuracy"]) == found["final_test_accuracy"]
    assert float(facts["temperature"]) == temperature
    assert json.loads(facts["classes"]) == list("0123456789")
    assert facts["commit"] == found["environment"]["commit"]
    assert str(export.__file__).rsplit("/", 2)[0] not in str(exported_model)  # no path of this machine
    assert "stack_trace" not in str(exported_model)


def test_safetensors_are_the_weights_and_the_card_tells_the_run(exported, small_mnist):
    folder, found = exported[0] / "export", results.load(exported[0])
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


def test_formats_that_fall_short_fail_by_name_and_hide_no_other(exported, small_mnist, monkeypatch, capsys):
    """A header that reads images otherwise, an ONNX file with other logits."""
    measured = c_header.measured

    def wrong(path, pixels, num_classes):
        probabilities, passed = measured(path, pixels, num_classes)
        return np.roll(probabilities, 1, axis=1), passed

    monkeypatch.setattr(c_header, "measured", wrong)
    monkeypatch.setitem(export.LOGITS_TOLERANCE, "model.onnx", 0.0)
    assert export.main([str(exported[0])]) == 1
    marks = re.findall("^[✓✗] [a-z0-9]+[.][a-z]+", capsys.readouterr().out, re.MULTILINE)
    assert marks == ["✗ model.onnx", "✓ model.safetensors", "✗ mnist20k.h"][: 2 + HAS_COMPILER]


def test_a_network_without_a_header_keeps_the_other_formats(exported, small_mnist, monkeypatch, capsys):
    monkeypatch.setattr(c_header, "Graph", Mock(side_effect=Unavailable("it has no step for the operator Sin")))
    assert export.main([str(exported[0])]) == 0
    output, errors = capsys.readouterr()
    assert "warning: no mnist20k.h: it has no step for the operator Sin" in errors
    assert "mnist20k.h" not in output
    assert not {"mnist20k.h", "firmware"} & {path.name for path in (exported[0] / "export").iterdir()}  # of old weights


@needs_compiler
def test_a_self_test_that_fails_is_told(exported, small_mnist, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(c_header, "FIRMWARE", shutil.copytree(c_header.FIRMWARE, tmp_path / "firmware"))
    path = c_header.FIRMWARE / "main.c"
    path.write_text(path.read_text().replace("label == digits", "label != digits"))
    assert export.main([str(exported[0])]) == 1
    assert re.search("✗ mnist20k.h .*; its self-test fails", capsys.readouterr().out)


def test_what_reads_alone_is_exported_without_the_training_images(exported, small_mnist, monkeypatch):
    load, path = data.load, exported[0] / "export" / "model.onnx"
    path.unlink()
    monkeypatch.setattr(data, "load", lambda name, folder, part, *device: {"test": load}[part](name, folder, part))
    export.main([str(exported[0]), "--quick"])
    assert path.exists()


def test_what_cannot_be_exported_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"no results\.json in .*make train"):
        export.main([str(tmp_path)])
    put(tmp_path, {"half": run(99.2, finished=False)})
    with pytest.raises(UserError, match="half is not finished: make train resumes it"):
        export.main([str(tmp_path / "half")])
