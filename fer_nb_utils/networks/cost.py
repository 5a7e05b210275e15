"""What a network costs: parameters, multiply-adds, latency; and what its modules do."""

import copy
import math
import statistics
import timeit

import pandas as pd
import torch
from torch import nn

from .load import one_thread


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Numbers of parameters: (all, those that require a gradient)."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)


def multiply_adds(model: nn.Module, image_size: int) -> int:
    """Multiply-adds of convolutions and linear layers for one RGB image of image_size x image_size pixels.

    A convolution costs kernel height x kernel width x input channels / groups per output number, a linear
    layer its input features. Batch norm, pooling and activations are left out, as in published figures.
    """
    return int(describe_layers(model, image_size)["multiply_adds"].sum())


def latency_ms(model: nn.Module, image_size: int) -> float:
    """Median milliseconds from one image in memory to its scores, on one CPU thread, over thirty runs after a warm-up.

    A copy of the model in evaluation mode is timed. The model itself is left alone.
    """
    model, image = copy.deepcopy(model).to("cpu").eval(), torch.zeros(1, 3, image_size, image_size)
    with one_thread(), torch.inference_mode():
        seconds = timeit.repeat(lambda: model(image), number=1, repeat=35)
    return 1000 * statistics.median(seconds[5:])


def describe_layers(model: nn.Module, image_size: int) -> pd.DataFrame:
    """One row per convolution, pooling and linear layer, in the order of execution for one RGB image.

    Columns: name (dotted path), kind (class), kernel ("3×3" or ""), output (tuple without the batch
    axis), trained (bool, or None without parameters), multiply_adds.
    """
    rows = []
    for name, module, output in _trace(model, image_size):
        weighted = isinstance(module, nn.Conv2d | nn.Linear)
        if weighted or "Pool" in type(module).__name__:
            cost = math.prod(output) * module.weight[0].numel() if weighted else 0
            rows.append((name, type(module).__name__, _kernel(module), output, _trained(module), cost))
    return pd.DataFrame(rows, columns=["name", "kind", "kernel", "output", "trained", "multiply_adds"])


def describe_stages(model: nn.Module, image_size: int) -> pd.DataFrame:
    """One row per direct child of the model (conv1 ... fc), in the order of execution for one RGB image.

    Columns: module, kind (class, or e.g. "2 × BasicBlock"), kernel ("7×7"; for blocks those on the main path,
    e.g. "1×1, 3×3, 1×1"), output (tuple without the batch axis), status ("frozen", "trained", or "" without
    parameters), parameters.
    """
    rows = []
    for name, module, output in _trace(model, image_size):
        if not name or "." in name:  # the model itself, or what is inside a child
            continue
        kind, kernel = type(module).__name__, _kernel(module)
        if isinstance(module, nn.Sequential):
            kind = f"{len(module)} × {type(module[0]).__name__}"
            kernel = ", ".join(_kernel(layer) for layer in module[0].children() if isinstance(layer, nn.Conv2d))
        status = {True: "trained", False: "frozen", None: ""}[_trained(module)]
        rows.append((name, kind, kernel, output, status, count_parameters(module)[0]))
    return pd.DataFrame(rows, columns=["module", "kind", "kernel", "output", "status", "parameters"])


def _trace(model: nn.Module, image_size: int) -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    """Each module in the order in which it ends: name, a copy of it, shape of its output without the batch axis.

    On the meta device nothing is computed. Two images, because a batch norm in training mode rejects a single one of
    1 x 1 pixels.
    """
    model, trace = copy.deepcopy(model).to("meta"), []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda of, _, out, name=name: trace.append((name, of, tuple(out.shape[1:]))))
    model(torch.empty(2, 3, image_size, image_size, dtype=next(model.parameters()).dtype, device="meta"))
    return trace


def _trained(module: nn.Module) -> bool | None:
    wanted = [p.requires_grad for p in module.parameters()]
    return any(wanted) if wanted else None


def _kernel(module: nn.Module) -> str:
    size = getattr(module, "kernel_size", ())
    return "×".join(map(str, (size, size) if isinstance(size, int) else size))  # pooling holds one number
