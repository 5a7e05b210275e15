"""Networks as files that run without this package: from grey faces to calibrated probabilities in one graph."""

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..classes import CLASSES
from ..errors import UserError
from ..files import atomic_path
from .load import Network, OnnxNetwork, folded

INPUT, OUTPUT = "faces", "probabilities"
SIDE = 48  # pixels of a face, as in FER-2013


class Exported(nn.Module):
    """Faces uint8 (n, 48, 48) -> probabilities float32 (n, 7): preprocessing, folded network and softmax."""

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.transform = folded(network.model), network.transform

    def forward(self, faces: Tensor) -> Tensor:
        return self.network(self.transform(faces)).softmax(dim=1)


def export(network: Network, path: Path, kind: str = "onnx", calibration: np.ndarray | None = None) -> None:
    """Write the network to `path` as onnx or torchscript, with metadata: name, version, classes, temperature, input.

    `calibration`: faces uint8 (n, 48, 48), a few hundred of the kind that will come: then convolutions are computed
    with 8-bit integers (onnx alone). Raises UserError where a package is missing.
    """
    if isinstance(network.model, OnnxNetwork):
        raise UserError(f"{network.name} is an exported network already; give a checkpoint or a run's folder.")
    if kind == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            if not find_spec(package):
                raise UserError(f'Export to ONNX needs {package}; install it with pip install -e ".[export]".')
    elif calibration is not None:
        raise UserError("Only onnx has int8; choose that format, or leave int8 out.")
    metadata = {"name": network.name, "version": __version__, "classes": json.dumps(CLASSES)}
    metadata |= {"temperature": str(network.temperature), "image_size": str(network.transform.image_size)}
    metadata |= {"input": f"{INPUT}: uint8 (n, {SIDE}, {SIDE}), grey faces, cropped as in FER-2013"}
    module, example = Exported(network).eval().requires_grad_(False), torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    with atomic_path(path) as temporary, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's, for itself: that TorchScript is not developed further, and others
        if kind == "torchscript":
            torch.jit.save(torch.jit.trace(module, example), temporary, _extra_files={"metadata": json.dumps(metadata)})
        else:
            import onnx  # here, for it is an extra

            names = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": ({0: torch.export.Dim("n")},)}
            torch.onnx.export(module, (example,), temporary, dynamo=True, external_data=False, verbose=False, **names)
            if calibration is not None:
                _to_int8(temporary, calibration)
            model = onnx.load(temporary)
            onnx.helper.set_model_props(model, metadata)
            onnx.save(model, temporary)


def _to_int8(path: Path, faces: np.ndarray) -> None:
    """Convolutions in integers: weights of 7 bits, a scale for each output channel; activations of 8, as ranging here.

    Activations without a sign are three times as fast as those with one on processors with VNNI; on others, products
    with weights of 8 bits would overflow.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static, shape_inference

    batches = ({INPUT: batch} for batch in np.array_split(faces, -(-len(faces) // 32)))

    class Faces(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(batches, None)

    with TemporaryDirectory() as folder:
        prepared = Path(folder) / path.name
        shape_inference.quant_pre_process(path, prepared)
        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "reduce_range": True}
        layers = {"per_channel": True, "op_types_to_quantize": ["Conv", "Add", "Gemm"]}
        quantize_static(prepared, path, Faces(), **kinds, **layers)
