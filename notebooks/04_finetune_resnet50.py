# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     notebook_metadata_filter: kernelspec,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fine-tuning ResNet50: bottlenecks, and what a wider head costs
#
# **You will learn** how a bottleneck block saves work, why ResNet50's head sees 2,048 features instead of 512, and what
# a prediction of each network costs.
#
# **Time:** one to four minutes of computing on the synthetic sample (two CPU cores), 10 minutes of reading.
#
# **Series:** [01 explore](01_explore_fer2013.ipynb) · [02 ResNet18](02_finetune_resnet18.ipynb) ·
# [03 ResNet34](03_finetune_resnet34.ipynb) · **04 ResNet50** · [05 compare](05_compare_resnets.ipynb) ·
# [06 webcam](06_live_webcam.ipynb) · [07 inside](07_inside_the_network.ipynb) ·
# [08 beyond](08_beyond_the_paper.ipynb)

# %% [markdown]
# ## Parameters
#
# The same settings as in notebooks 02 and 03, so that the networks are compared on equal terms; only the pasts of their
# pretrained backbones differ ([the card](../fer_nb_utils/networks/checkpoints/backbones.md)).

# %% tags=["parameters"]
# parameters of this notebook
data = "sample"
run_dir = "runs/default"  # for results; relative to the clone's root or, outside a clone, to the current folder
device = "auto"
seed = 0
weights = "embedded"  # or "imagenet", "none" (random), or a file or folder of saved weights
trainable = "layer4"  # first trained stage: fc, layer4, layer3, layer2, layer1 or all
image_size = 48
epochs = 4
batch_size = 32
learning_rate = 0.0005
cached_views = 2  # copies of each image whose frozen features are kept; 0: a fresh one in every epoch

# %%
import pandas as pd
from torch import nn

from fer_nb_utils.data.dataset import load
from fer_nb_utils.figures.architecture import draw_architecture
from fer_nb_utils.figures.training import training_curves
from fer_nb_utils.networks.cost import count_parameters, latency_ms, multiply_adds
from fer_nb_utils.networks.resnets import MODELS, build_model
from fer_nb_utils.results.reference_runs import reference_runs
from fer_nb_utils.results.seeds import seed_groups
from fer_nb_utils.series.show import show_figure, show_table
from fer_nb_utils.series.workspace import Workspace, check_parameters
from fer_nb_utils.training import experiment
from fer_nb_utils.training.config import TrainConfig

check_parameters()
work = Workspace(run_dir)

# %% [markdown]
# ## The bottleneck
#
# A 3x3 convolution over 256 channels costs 9 x 256 x 256 weights. The bottleneck first squeezes 256 channels to 64 with
# a 1x1 convolution, does the 3x3 there, and widens back with another 1x1:

# %%
wide = build_model("resnet50", weights, trainable, seed=seed)
convolutions = {
    name: {
        "in": layer.in_channels,
        "kernel": layer.kernel_size[0],
        "out": layer.out_channels,
        "weights": layer.weight.numel(),
    }
    for name, layer in wide.layer1[1].named_modules()
    if isinstance(layer, nn.Conv2d)
}
show_table(pd.DataFrame.from_dict(convolutions, orient="index").rename_axis("layer1, block 1"))

# %% [markdown]
# Three convolutions with 69,632 weights together, where two plain 3x3 ones over 256 channels would have 1,179,648.

# %%
bottleneck = sum(row["weights"] for row in convolutions.values())
basic = 2 * 3 * 3 * 256 * 256
print(f"bottleneck {bottleneck:,}, two 3x3 convolutions {basic:,}: {basic / bottleneck:.0f} times as many")

# %%
figure = draw_architecture(wide, "resnet50", image_size)
work.save_figure(figure, "fig1_architecture_resnet50")
show_figure(figure)

# %% [markdown]
# ## What a wider head costs
#
# Every stage ends four times as wide as in ResNet18. For the head that is small change: `fc` grows from 512 x 7 to
# 2,048 x 7 weights. The paper trains `layer4` as well, and there it is 15 million weights instead of 8.4.

# %%
models = {name: build_model(name, "none", "layer4") for name in MODELS}
costs = {
    name: {
        "parameters": count_parameters(model)[0],
        "layer4 + fc": count_parameters(model)[1],
        "fc": sum(weight.numel() for weight in model.fc.parameters()),
        "multiply-adds": multiply_adds(model, image_size),
    }
    for name, model in models.items()
}
show_table(pd.DataFrame.from_dict(costs, orient="index").rename_axis(f"at {image_size} px"))

# %% [markdown]
# Multiply-adds are not time. ResNet50 does about a tenth more than ResNet34, and both about twice as many as ResNet18.
# Do the milliseconds of one image grow like that? They are of this machine; run the cell twice to see how they vary:

# %% tags=["nbval-ignore-output"]
latency = {name: latency_ms(model, image_size) for name, model in models.items()}
show_table(pd.Series(latency, name="ms an image").to_frame().rename_axis(f"at {image_size} px"), decimals=1)
assert all(milliseconds > 0 for milliseconds in latency.values())

# %% [markdown]
# ## Training
#
# The same data and settings as before. With these settings, expect ResNet50 ahead of the others in training and no
# better in test: 350 test images cannot tell the three apart.

# %% tags=["nbval-ignore-output"]
dataset = load(data)
config = TrainConfig(
    model="resnet50",
    weights=weights,
    trainable=trainable,
    image_size=image_size,
    epochs=epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    cached_views=cached_views,
    seed=seed,
)
run = experiment.run(config, dataset, work.run_folder("resnet50"), device)
assert run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0] or epochs == 1

# %% tags=["nbval-ignore-output"]
histories = {name: one.history for name, one in work.runs().items() if name in MODELS}
figure = training_curves({name: [history] for name, history in histories.items()}, note=run.protocol)
work.save_figure(figure, "training_resnet50")
show_figure(figure)

# %% [markdown]
# ## On real faces
#
# The committed reference runs in the paper's protocol: `layer4` and `fc` of pretrained networks, 20 epochs, means over
# the seeds. You should see ResNet50 ahead in training and in test, at about twice ResNet18's work.

# %%
reference, rows = seed_groups(reference_runs()), {}
for name in MODELS:
    runs = reference[f"{name}_layer4"]
    rows[name] = {
        "multiply-adds, G": runs[0].config["multiply_adds"] / 1e9,
        "trained parameters, M": runs[0].config["trained_parameters"] / 1e6,
        "train accuracy": sum(one.history["train_accuracy"].iloc[-1] for one in runs) / len(runs),
        "validation accuracy": sum(one.history["validation_accuracy"].max() for one in runs) / len(runs),
        "test accuracy": sum(one.metrics["full"]["accuracy"] for one in runs) / len(runs),
    }
show_table(pd.DataFrame.from_dict(rows, orient="index").rename_axis("FER-2013"), note="Means over three seeds, 64 px")

# %% [markdown]
# ResNet34 and ResNet50 cost about the same; one gives nothing for it, the other two points in test and nine in
# training. Width and bottlenecks, or its pretraining (from other ImageNet weights, and longer)? Three networks with
# three pasts cannot say.

# %% [markdown]
# ## The test, once

# %% tags=["nbval-ignore-output"]
tested = {
    name: {key: measured[key] for key in ("support", "accuracy", "f1", "auc")}
    | dict(zip(("low", "high"), measured["intervals"]["accuracy"], strict=True))
    for name, measured in run.metrics.items()
}
show_table(pd.DataFrame.from_dict(tested, orient="index").rename_axis(f"resnet50 on {dataset.name}"))
assert 0 < run.metrics["full"]["accuracy"] <= 1

# %% [markdown]
# ## What to take along
#
# * A bottleneck does the expensive 3x3 convolution on a quarter of the channels.
# * Multiply-adds, weights, training time and latency are four different costs; say which one you mean.
# * In the reference runs ResNet50 is the best of the three; in the paper all three are level. The weights differ in
#   their pasts, ours from each other and from the paper's: an experiment that changes one thing at a time would tell.
#
# Next: [the three side by side](05_compare_resnets.ipynb)
