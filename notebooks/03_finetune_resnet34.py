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
# # Fine-tuning ResNet34: does depth help?
#
# **You will learn** how a residual block is built, what ResNet34 has that ResNet18 has not, what the *degradation
# problem* was that residual connections solved, and how to read two training curves side by side.
#
# **Time:** one to three minutes of computing on the synthetic sample (two CPU cores), 10 minutes of reading.
#
# **Series:** [01 explore](01_explore_fer2013.ipynb) · [02 ResNet18](02_finetune_resnet18.ipynb) · **03 ResNet34** ·
# [04 ResNet50](04_finetune_resnet50.ipynb) · [05 compare](05_compare_resnets.ipynb) ·
# [06 webcam](06_live_webcam.ipynb) · [07 inside](07_inside_the_network.ipynb) ·
# [08 beyond](08_beyond_the_paper.ipynb)

# %% [markdown]
# ## Parameters
#
# The same settings as in notebook 02, so that the networks are compared on equal terms; only the pasts of their
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
import torch

from fer_nb_utils.data.dataset import load
from fer_nb_utils.figures.architecture import draw_architecture
from fer_nb_utils.figures.training import training_curves
from fer_nb_utils.networks.cost import count_parameters, describe_stages, multiply_adds
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
# ## The basic block
#
# Two 3x3 convolutions, and around them a shortcut: the block's output is its input plus a correction,
# `relu(x + f(x))`. A block that has nothing to add can learn `f(x) = 0`. Written out, a block of `layer1` is:

# %%
deep = build_model("resnet34", weights, trainable, seed=seed).eval()
block = deep.layer1[0]
x = torch.rand(1, 64, 12, 12)
with torch.inference_mode():
    correction = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    by_hand = torch.relu(x + correction)
    print("the same as the block itself:", torch.allclose(by_hand, block(x), atol=1e-5))

# %% [markdown]
# ## Twice as many blocks
#
# Both networks have the same four stages with the same widths; ResNet34 repeats more blocks in each. You should see
# about twice the weights and twice the multiply-adds.

# %%
shallow = build_model("resnet18", "none", trainable, seed=seed)
blocks = {
    name: {stage: len(getattr(model, stage)) for stage in ("layer1", "layer2", "layer3", "layer4")}
    | {"parameters": count_parameters(model)[0], "multiply-adds": multiply_adds(model, image_size)}
    for name, model in {"resnet18": shallow, "resnet34": deep}.items()
}
show_table(pd.DataFrame.from_dict(blocks, orient="index").rename_axis(f"at {image_size} px"))

# %%
figure = draw_architecture(deep, "resnet34", image_size)
work.save_figure(figure, "fig1_architecture_resnet34")
show_figure(figure)

# %% [markdown]
# At this size the picture shrinks fast. By `layer4` there is little left to look at, so much of the depth works on a
# map of a few pixels:

# %%
stages = describe_stages(deep, image_size).set_index("module")
stages["output"] = [" x ".join(map(str, size)) for size in stages["output"]]
show_table(stages[["output", "parameters", "status"]])

# %% [markdown]
# ## Training
#
# Same data, same split, same settings, another network. A finished run is read, not repeated.

# %% tags=["nbval-ignore-output"]
dataset = load(data)
config = TrainConfig(
    model="resnet34",
    weights=weights,
    trainable=trainable,
    image_size=image_size,
    epochs=epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    cached_views=cached_views,
    seed=seed,
)
run = experiment.run(config, dataset, work.run_folder("resnet34"), device)
assert run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0] or epochs == 1

# %% [markdown]
# ## Beside ResNet18
#
# If notebook 02 has run in the same folder, both are drawn. Solid is training, dashed is validation. Look at the
# *training* curves first: which network fits its training images better, and is that so in every epoch?

# %% tags=["nbval-ignore-output"]
histories = {name: one.history for name, one in work.runs().items() if name in ("resnet18", "resnet34")}
figure = training_curves({name: [history] for name, history in histories.items()}, note=run.protocol)
work.save_figure(figure, "training_resnet34")
show_figure(figure)

# %% [markdown]
# ## The degradation question
#
# Before residual networks, deeper plain networks had *higher training error* than shallow ones, which overfitting
# cannot explain: the deeper net contains the shallower one. He et al. ([2016](https://arxiv.org/abs/1512.03385)) called
# it degradation. The paper reports ResNet34 as weakest *in training*, throughout. So compare training accuracy after
# the same number of epochs: a deeper network that learns more slowly is not degraded, it may only need longer. And mind
# the past: the embedded ResNet34 was grown from the ResNet18, its added blocks never saw ImageNet. Neither a few epochs
# nor unequal pasts can settle it.

# %% tags=["nbval-ignore-output"]
last = {name: history[["train_accuracy", "validation_accuracy"]].iloc[-1] for name, history in histories.items()}
show_table(pd.DataFrame(last).T.rename_axis(f"last epoch, {dataset.name}"))

# %% [markdown]
# The same question on real faces, from the committed reference runs: the paper's protocol, `layer4` and `fc` of
# pretrained networks, 20 epochs, means over the seeds. You should see ResNet34 within a point of
# ResNet18 in every epoch, and in nearly all below it, although it has twice as many blocks.

# %%
reference, rows = seed_groups(reference_runs()), {}
for name in MODELS:
    runs = reference[f"{name}_layer4"]
    mean = sum(one.history.set_index("epoch") for one in runs) / len(runs)
    rows[name] = {f"train, epoch {epoch}": mean.loc[epoch, "train_accuracy"] for epoch in (1, 5, 10, 20)}
    rows[name]["validation, epoch 20"] = mean.loc[20, "validation_accuracy"]
show_table(pd.DataFrame.from_dict(rows, orient="index").rename_axis("FER-2013"))

# %% [markdown]
# So depth alone buys nothing here, in training or in validation. That is not yet degradation: the paper finds ResNet34
# the weakest in training as well, but in both cases one pretrained network of each kind was fine-tuned, and ours was
# grown from the ResNet18. ResNet50, the next notebook's, is another matter.

# %% [markdown]
# ## The test, once

# %% tags=["nbval-ignore-output"]
tested = {
    name: {key: measured[key] for key in ("support", "accuracy", "f1", "auc")}
    | dict(zip(("low", "high"), measured["intervals"]["accuracy"], strict=True))
    for name, measured in run.metrics.items()
}
show_table(pd.DataFrame.from_dict(tested, orient="index").rename_axis(f"resnet34 on {dataset.name}"))
assert 0 < run.metrics["full"]["accuracy"] <= 1

# %% [markdown]
# ## What to take along
#
# * A basic block adds a correction to what it is given; ResNet34 has twice as many blocks as ResNet18, and about twice
#   the weights and multiply-adds.
# * In the reference runs, that bought no accuracy in 20 epochs, neither in training nor in validation. Measure before
#   you deepen.
# * Compare *training* curves to judge whether a network can learn, *test* results to judge whether it should be used.
#
# Next: [blocks of another shape](04_finetune_resnet50.ipynb)
