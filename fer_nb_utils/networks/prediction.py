"""Class probabilities of images, from a model in evaluation mode."""

import numpy as np
import torch
from torch import Tensor, nn

from .transforms import Preprocess


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, preprocess: Preprocess, batch_size: int = 256) -> np.ndarray:
    """uint8 images (n, height, width) -> float64 probabilities (n, 7), rows summing to 1.

    Computes in float32 on the model's device and leaves the model in evaluation mode.
    """
    model.eval()
    device = next(model.parameters(), torch.empty(0)).device  # an OnnxNetwork has none
    logits = [model(preprocess(part.to(device))).float().cpu() for part in images.split(batch_size)]
    return torch.cat(logits).double().softmax(dim=1).numpy()
