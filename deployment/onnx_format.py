"""The network as ONNX: bytes in, probabilities out, with what it is in the file's metadata.

`write` makes model.onnx, which any ONNX runtime reads: input `pixels`, uint8 [N, 1, H, W] for any N; outputs
`probabilities` and `logits`, float32 [N, num_classes].
"""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

from support import UserError, files, sanity

import onnx
import torch
from torch import Tensor, nn


class Unavailable(UserError):
    """This network, or this machine, cannot have a format."""


class Deployed(nn.Module):
    """A model from pixels in 0..1 to logits as one from bytes to (probabilities, logits), both calibrated by a
    temperature (Guo et al., arXiv 1706.04599)."""

    def __init__(self, model: nn.Module, temperature: float):
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(pixels.float() / 255) / self.temperature
        return logits.softmax(1), logits


def write(path: Path | str, model: nn.Module, input_shape: tuple[int, int, int], metadata: dict[str, Any]) -> None:
    """Write a deployable model (checkpoint.load_model) as ONNX, with a `temperature` that its metadata may have; those
    that are no text become JSON. Raises Unavailable for one that torch cannot trace."""
    with sanity.told("it cannot be traced", Unavailable), warnings.catch_warnings(action="ignore"):
        logging.getLogger("onnxscript").setLevel(logging.ERROR)  # warnings, too, are about torch's own code
        program = torch.onnx.export(
            Deployed(model.to("cpu", memory_format=torch.contiguous_format), metadata.get("temperature", 1)).eval(),
            (torch.zeros(2, *input_shape, dtype=torch.uint8),),
            input_names=["pixels"],
            output_names=["probabilities", "logits"],
            dynamic_shapes={"pixels": {0: "N"}},
            verbose=False,
        )
    content = program.model_proto
    graph = content.graph
    # The exporter notes about each value the names of torch's functions, and paths of this machine.
    graph.ClearField("value_info")
    for noted in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    for node in graph.node:
        node.ClearField("name")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    onnx.helper.set_model_props(content, texts)
    onnx.checker.check_model(content)
    files.replace_file(path, content.SerializeToString())
