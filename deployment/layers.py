"""The layers of an exported network, so that the demo's page can show their maps while one draws."""

from typing import Any

import onnx

KINDS = {"MaxPool": "max pooling", "AveragePool": "average pooling", "Concat": "concatenation"}
KINDS |= dict.fromkeys(["ReduceMean", "GlobalAveragePool"], "mean of each map")


def add_outputs(content: bytes) -> tuple[bytes, list[dict[str, Any]]]:
    """(the ONNX file with the maps of every layer as further outputs, those layers: the output's name, the layer's kind
    in words, and its `maps`, `height` and `width`).

    A layer begins at a convolution, or where maps change in number or size, and its last value stands for it: after
    BatchNorm and activation. Values without maps, such as those of linear layers, are none."""
    model = onnx.load_from_string(content)
    inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    weights, layers = {each.name: each.dims for each in model.graph.initializer}, []
    for node in model.graph.node:
        value = inferred.get(node.output[0])
        shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim] if value else []
        if len(shape) != 4 or not all(shape[1:]) or not (layers or node.op_type == "Conv"):
            continue
        size = dict(zip(("maps", "height", "width"), shape[1:], strict=True))
        if node.op_type == "Conv" or not layers or not size.items() <= layers[-1].items():
            layers.append({"kind": kind(node, weights)} | size)
        layers[-1]["output"] = value.name
    model.graph.output.extend(inferred[layer["output"]] for layer in layers)
    return model.SerializeToString(), layers


def kind(node: onnx.NodeProto, weights: dict[str, Any]) -> str:
    """What a node does, in words."""
    if node.op_type != "Conv" or len(weights.get(node.input[1], ())) != 4:
        return KINDS.get(node.op_type, node.op_type)
    _, channels, height, width = weights[node.input[1]]
    grouped = any(each.name == "group" and each.i > 1 for each in node.attribute)
    return f"{height}×{width} {'depthwise ' if grouped and channels == 1 else ''}convolution"
