"""The paper's numbers and claims.

Source: Sheng and Lau, "Optimising Facial Expression Recognition: Comparing ResNet Architectures for Enhanced
Performance", J. Machine Intelligence and Data Science 5 (2024) 33-45, doi 10.11159/jmids.2024.005.
"""

from dataclasses import dataclass, field

import pandas as pd

from ..classes import CLASSES

PAPER_TABLE1 = pd.DataFrame(
    [
        ("resnet18", 0.648, 0.650, 0.646, 7178, 0.650, 0.898),
        ("resnet34", 0.652, 0.651, 0.650, 7178, 0.651, 0.893),
        ("resnet50", 0.664, 0.654, 0.658, 7178, 0.654, 0.885),
    ],
    columns=["model", "precision", "recall", "f1", "support", "accuracy", "auc"],
).set_index("model")

PAPER_TABLE2 = pd.DataFrame(
    [
        (0.560, 0.590, 0.571, 958, 0.872),
        (0.727, 0.583, 0.647, 111, 0.958),
        (0.522, 0.483, 0.500, 1024, 0.805),
        (0.849, 0.857, 0.851, 1774, 0.965),
        (0.589, 0.619, 0.601, 1233, 0.856),
        (0.516, 0.507, 0.511, 1247, 0.832),
        (0.811, 0.768, 0.789, 831, 0.956),
    ],
    index=pd.Index(CLASSES, name="expression"),
    columns=["precision", "recall", "f1", "support", "auc"],
)

PAPER_COUNTS = {"all": 35_886, "training": 28_708, "testing": 3_589}  # images, by the text; its tables test 7,178


@dataclass(frozen=True)
class Claim:
    """One statement of the paper about its results: where it stands, and the numbers in it that are used."""

    where: str
    text: str
    numbers: dict[str, float] = field(default_factory=dict)


PAPER_CLAIMS = {
    "unfreeze": Claim(
        "training",
        "Training layer4 with fc, instead of fc alone, raises training accuracy from 41.6 % to 91.2 %.",
        {"fc": 0.416, "layer4": 0.912},
    ),
    "overtake": Claim(
        "Fig. 2", "ResNet50 has the best training accuracy at first; ResNet18 overtakes it at epoch 9.", {"epoch": 9}
    ),
    "weakest": Claim("Fig. 2", "ResNet34 is the weakest in training throughout."),
    "slowest": Claim("Fig. 2", "ResNet50 takes the longest to train."),
    "plateau": Claim("Fig. 2", "Training has not reached a plateau after 20 epochs."),
    "accuracy": Claim("Table 1", "Test accuracy rises with depth: ResNet18 .650, ResNet34 .651, ResNet50 .654."),
    "auc": Claim("Table 1", "Mean one-vs-rest AUC falls with depth: ResNet18 .898, ResNet34 .893, ResNet50 .885."),
    "expressions": Claim(
        "Table 2", "Happy and surprise are recognised best (F1 .851, .789), fear and sad worst (.500, .511)."
    ),
    "disgust": Claim(
        "real time", "Disgust is never recognised in the live picture, because it has only 436 training images."
    ),
    "features": Claim("also tried", "Local Binary Patterns and the like beside the network bring minimal gains."),
    "balance": Claim("conclusion", "ResNet18 is the best balance of accuracy and cost."),
}
