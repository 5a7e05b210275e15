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
# # Fine-tuning ResNet18: what transfer learning is, and what freezing does
#
# **You will learn** how a network trained on other images is put to a new task; what it means to freeze layers, batch
# norm included; how a training loop works; what data augmentation looks like; and why the test set is opened once.
#
# **Time:** two to eight minutes of computing on the synthetic sample (two CPU cores, quick or slow ones), 25 minutes of
# reading.
#
# **Series:** [01 explore](01_explore_fer2013.ipynb) · **02 ResNet18** · [03 ResNet34](03_finetune_resnet34.ipynb) ·
# [04 ResNet50](04_finetune_resnet50.ipynb) · [05 compare](05_compare_resnets.ipynb) ·
# [06 webcam](06_live_webcam.ipynb) · [07 inside](07_inside_the_network.ipynb) ·
# [08 beyond](08_beyond_the_paper.ipynb)
#
# **Paper:** Sheng and Lau, *Optimising Facial Expression Recognition* (2024),
# [doi 10.11159/jmids.2024.005](https://doi.org/10.11159/jmids.2024.005).

# %% [markdown]
# ## Parameters
#
# As they stand, everything runs offline on synthetic faces: the paper's way, `layer4` and `fc` trained, from the
# package's own pretrained backbones ([their card](../fer_nb_utils/networks/checkpoints/backbones.md)). For the paper's
# experiment, as far as it is stated, set `data` to your copy of FER-2013 (an absolute path), `weights` to `"imagenet"`,
# `epochs` to 20 and `cached_views` to 0, and choose an input size, 224 perhaps; or take the profile `paper`, or
# `laptop`, a cheaper variant.

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
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import load, split_validation
from fer_nb_utils.figures.architecture import draw_architecture
from fer_nb_utils.figures.data import pictures
from fer_nb_utils.figures.results import confusion_matrices
from fer_nb_utils.figures.style import finish, style
from fer_nb_utils.figures.training import training_curves
from fer_nb_utils.networks.cost import count_parameters
from fer_nb_utils.networks.resnets import build_model, frozen_stages, train_mode
from fer_nb_utils.networks.transforms import Augment, Preprocess, batches
from fer_nb_utils.results.comparison import common_protocol
from fer_nb_utils.results.paper import PAPER_CLAIMS
from fer_nb_utils.results.reference_runs import reference_runs
from fer_nb_utils.series import widgets
from fer_nb_utils.series.show import show_figure, show_table
from fer_nb_utils.series.workspace import Workspace, check_parameters
from fer_nb_utils.training import experiment
from fer_nb_utils.training.config import TrainConfig

check_parameters()
work = Workspace(run_dir)

# %% [markdown]
# ## The images, and who may see them
#
# Three parts: the network learns from *train*, we choose with *validation*, and *test* stays closed until the end.
# Identical training images go together to train or to validation, else the network would be examined on what it has
# learnt by heart. On the sample you should see about 1,260, 140 and 350 images.

# %%
dataset = load(data)
train, validation = split_validation(dataset, seed=seed)
test = dataset.select("PublicTest", "PrivateTest")
print(f"{dataset.name}: {len(train):,} train, {len(validation):,} validation, {len(test):,} test images")

# %% [markdown]
# ## A network with a new head
#
# ResNet18 was made for 1,000 kinds of things in colour photographs. We keep everything but its last layer: `fc` gets
# seven outputs, one for each expression. Grey images are repeated to three channels, so that the first layer fits.
#
# Fig. 1 of the paper, drawn from the model itself with `layer4` and `fc` trained, as the paper does:

# %%
paper_model = build_model("resnet18", weights, trainable="layer4", seed=seed)
figure = draw_architecture(paper_model, "resnet18", image_size)
work.save_figure(figure, "fig1_architecture_resnet18")
show_figure(figure)

# %% [markdown]
# ## What freezing means
#
# A frozen layer gets no gradient, so the optimiser leaves its weights alone. That is not enough: batch norm, which
# brings each channel to mean 0 and variance 1, keeps a running mean and variance for it that change whenever it sees a
# batch *in training mode*. Here frozen means frozen: those layers also stay in evaluation mode. Three quarters of
# ResNet18's weights are in `layer4`.

# %%
rows = {}
for first in ("fc", "layer4", "layer3", "all"):
    model = build_model("resnet18", "none", first)
    total, trained = count_parameters(model)
    rows[first] = {"frozen": ", ".join(frozen_stages(first)) or "nothing", "trained": trained, "share": trained / total}
show_table(pd.DataFrame.from_dict(rows, orient="index").rename_axis("trainable"))

# %% [markdown]
# The proof: run one batch through the network in training mode, and compare the statistics of a frozen and of a
# trained batch norm before and after. Expect no change at all for `bn1`.

# %%
before = {name: buffer.clone() for name, buffer in paper_model.named_buffers()}
train_mode(paper_model)
paper_model(Preprocess(image_size)(torch.from_numpy(train.images[:64])))
for name in ("bn1.running_mean", "layer4.1.bn2.running_mean"):
    change = (paper_model.get_buffer(name) - before[name]).abs().max().item()
    print(f"{name:26} changed by {change:.1f}" if change == 0 else f"{name:26} changed")

# %% [markdown]
# ## Augmentation
#
# Small random changes that keep the expression: mirror, rotation, shift, scale, shear, brightness, contrast. The paper
# lists them without strengths, so the strengths are ours. They are drawn anew for each image and each epoch, on whole
# batches and on the device that trains.

# %%
faces = torch.from_numpy(train.images[[np.flatnonzero(train.labels == label)[0] for label in range(7)]])
generator = torch.Generator().manual_seed(seed)
draws = torch.stack([Augment()(faces, 48, generator)[:, 0] for _ in range(6)], dim=1)
rows = {name: [face / 255, *drawn] for name, face, drawn in zip(CLASSES, faces.numpy(), draws.numpy(), strict=True)}
columns = ["original", *(f"draw {number}" for number in range(1, 7))]
show_figure(pictures(rows, columns, "What the augmentation does", dataset.name, limits=(0, 1)))

# %% [markdown]
# With a running kernel, turn the knobs: which strength would make a sad face hard to tell from a neutral one?

# %% tags=["nbval-ignore-output"]
widgets.augmentation_knobs(train)

# %% [markdown]
# ## The training loop, once in full
#
# Everything the package does beyond this (mixed precision, validation, saving, and a learning rate that first rises and
# then falls along a cosine to zero, so that the last steps are small) is comfort. To see something learnt within
# seconds, we take 256 images and train `layer4` and `fc` only. *AdamW* gives every weight a step size of its own and
# pulls it a little towards zero, the weight decay. Head and body get the same learning rate here: `fc` starts from
# nothing and would bear a greater one, pretrained layers often get a smaller one, lest they forget. *Softmax* turns the
# seven outputs, the logits, into probabilities; `cross_entropy` holds it, and is the mean of minus the logarithm of the
# true class's probability.

# %%
generator = torch.Generator().manual_seed(seed)
few = torch.randperm(len(train), generator=generator)[:256]
images, labels = torch.from_numpy(train.images)[few], torch.from_numpy(train.labels)[few]
preprocess, augment = Preprocess(image_size), Augment()
model = build_model("resnet18", weights, "layer4", seed=seed)
train_mode(model)
optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)

# %% [markdown]
# Four steps a batch: *forward*, *loss*, *backward* (after the old gradients are cleared), *step*. A network that gives
# each expression a seventh has a loss of ln 7 = 1.95. On the sample, the mean loss should start below that and fall
# with every pass over the images; the second decimal varies with the machine.

# %% tags=["nbval-ignore-output"]
losses = []
for epoch in range(1, 4):
    for chosen in batches(torch.randperm(len(few), generator=generator), 32):
        inputs = preprocess.normalize(augment(images[chosen], image_size, generator))
        loss = F.cross_entropy(model(inputs), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch}: mean loss {np.mean(losses[-8:]):.2f}")
assert not dataset.synthetic or np.mean(losses[-8:]) < np.log(7)

# %% [markdown]
# ## The run for the comparison
#
# The settings below are the same in notebooks 03 and 04, so that notebook 05 compares like with like. Each epoch prints
# a line; the state is saved after each, so a run that is interrupted goes on where it was, and a finished one is only
# read. *Validation* accuracy, not test accuracy, decides which epoch's weights are kept.

# %% tags=["nbval-ignore-output"]
config = TrainConfig(
    model="resnet18",
    weights=weights,
    trainable=trainable,
    image_size=image_size,
    epochs=epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    cached_views=cached_views,
    seed=seed,
)
run = experiment.run(config, dataset, work.run_folder("resnet18"), device)
assert run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0] or epochs == 1

# %% [markdown]
# Solid lines are training, dashed ones validation. Where validation lies *above* training accuracy, it has the easier
# task: training counts augmented images, throughout the epoch and while the network still changes; validation counts
# plain images, once, at the epoch's end. Where it falls *below*, the network has begun to learn its images by heart.
# Which is it here?

# %% tags=["nbval-ignore-output"]
figure = training_curves({"resnet18": [run.history]}, note=run.protocol)
work.save_figure(figure, "training_resnet18")
show_figure(figure)

# %% [markdown]
# ## What does unfreezing `layer4` give?
#
# The paper's main lesson: with `fc` alone, *training* accuracy ended at 41.6 %; with `layer4` and `fc` it was 91.2 %.
# We repeat it. A frozen backbone gives the same features for the same picture every time, so they are computed once,
# for `cached_views` augmented copies of each image, and reused in every epoch. Expect `layer4` + `fc` above `fc`.

# %%
fc, layer4 = replace(config, trainable="fc"), replace(config, trainable="layer4")

# %% tags=["nbval-ignore-output"]
fc_run = experiment.run(fc, dataset, work.run_folder("resnet18_fc"), device)
same = layer4 == config  # then it has just been trained
layer4_run = run if same else experiment.run(layer4, dataset, work.run_folder("resnet18_layer4"), device)
assert layer4_run.history["train_accuracy"].max() > fc_run.history["train_accuracy"].max()

# %% [markdown]
# The dotted lines are the paper's two numbers:


# %% tags=["nbval-ignore-output"]
def show_freezing(fc, layer4, place):
    runs = {"fc": [fc], "layer4 + fc": [layer4]}
    histories = {name: [run.history for run in group] for name, group in runs.items()}
    figure = training_curves(histories, common_protocol(runs))
    for accuracy in PAPER_CLAIMS["unfreeze"].numbers.values():
        figure.axes[1].axhline(accuracy, color="grey", linestyle=":", linewidth=1.2)
    place.save_figure(figure, "freezing_resnet18")
    show_figure(figure)


show_freezing(fc_run, layer4_run, work)

# %% [markdown]
# ## The test, once
#
# `experiment.run` tested each network when its training had ended, and wrote the probabilities down. Nothing was
# chosen by them. Everything below reads that file. *Leak-free* leaves out the test images that have an identical twin
# in train. With 350 images the 95 % intervals are some ten points wide: remember that when you compare networks.

# %% tags=["nbval-ignore-output"]
tested = {
    name: {key: measured[key] for key in ("support", "accuracy", "f1", "auc")}
    | dict(zip(("low", "high"), measured["intervals"]["accuracy"], strict=True))
    for name, measured in run.metrics.items()
}
show_table(pd.DataFrame.from_dict(tested, orient="index").rename_axis(f"resnet18 on {dataset.name}"))
assert 0 < run.metrics["full"]["accuracy"] <= 1

# %% tags=["nbval-ignore-output"]
figure = confusion_matrices({"resnet18": run.predictions}, note=run.protocol)
work.save_figure(figure, "confusion_resnet18")
show_figure(figure)

# %% [markdown]
# The mistakes that the network was surest of, each below its label and the answer (of FER-2013 none are shown here):

# %% tags=["nbval-ignore-output"]
mistakes = widgets.find_mistakes(run.predictions).head(7)
if len(mistakes) and dataset.name != "FER-2013":
    faces = test.images[pd.Index(test.files).get_indexer(mistakes["file"])]
    names = [f"{m.label}, taken\nfor {m.predicted}\n{m.confidence:.0%}" for m in mistakes.itertuples()]
    figure = pictures({"": faces}, names, "The most confident mistakes", run.protocol, limits=(0, 255))
    work.save_figure(figure, "mistakes_resnet18")
    show_figure(figure)

# %% [markdown]
# With a running kernel, step through all of them: guess first, then press *labels*. Would you have known better?
# (Faces of FER-2013 are shown then: do not publish the executed notebook.)

# %% tags=["nbval-ignore-output"]
widgets.step_through_mistakes(test, run.predictions)

# %% [markdown]
# ## What does transfer give?
#
# Its rivals, on the sample: the same backbone with *all* layers trained; random weights with all layers trained, which
# is what you would do without pretraining; and `fc` alone on frozen random filters, which have seen nothing. All have
# the same epochs, but they are not equal in everything: with all layers trained, images are fresh in every epoch
# instead of stored copies, and random weights get twice the learning rate. Which would you expect to be best, and which
# worst?

# %% tags=["nbval-ignore-output"]
rivals = {"pretrained, fc": fc_run, "pretrained, layer4 + fc": layer4_run}
if dataset.synthetic:
    whole = replace(config, trainable="all", cached_views=0)
    for name, settings in {
        "pretrained, all": whole,
        "random, all": replace(whole, weights="none", learning_rate=2 * learning_rate),
        "random, fc": replace(fc, weights="none"),
    }.items():
        folder = work.run_folder("resnet18_" + name.replace(", ", "_"))
        rivals[name] = experiment.run(settings, dataset, folder, device)

# %% [markdown]
# One table and one plot, with 95 % intervals of the test accuracy. Intervals that overlap widely cannot tell two rivals
# apart: 350 test images are few. Does transfer help against *all layers from random weights*? When it does not, the
# backbone knows too little of what the task needs, or the task has enough images of its own.

# %% tags=["nbval-ignore-output"]
transfer = {
    name: {
        "train (last epoch)": one.history["train_accuracy"].iloc[-1],
        "validation (best epoch)": one.history["validation_accuracy"].max(),
        "test (best epoch)": one.metrics["full"]["accuracy"],
        **dict(zip(("low", "high"), one.metrics["full"]["intervals"]["accuracy"], strict=True)),
        "seconds": one.config["seconds"] + one.config["preparation_seconds"],
    }
    for name, one in rivals.items()
}
transfer = pd.DataFrame.from_dict(transfer, orient="index").rename_axis(f"resnet18, {dataset.name}")
work.save_table(transfer, "transfer_resnet18")
show_table(transfer)

# %% tags=["nbval-ignore-output"]
tested, low, high = (transfer[column] for column in ("test (best epoch)", "low", "high"))
with style():
    figure, axis = plt.subplots(figsize=(8.5, 3.2))
    axis.errorbar(tested, transfer.index, xerr=(tested - low, high - tested), fmt="o", color="black")
    axis.invert_yaxis()
    axis.set_xlabel("accuracy on the full test set, with 95 % interval")
    finish(figure, "Test accuracy", common_protocol({name: [one] for name, one in rivals.items()}))
work.save_figure(figure, "transfer_resnet18")
show_figure(figure)

# %% [markdown]
# In the committed run, the pretrained start with all layers trained is clearly ahead (85 %); `layer4` + `fc` on frozen
# pretrained layers (68 %) is level with random weights and all layers trained (65 %): their intervals overlap. So
# pretraining helps most here where the early layers may adapt: filters made for photographs fit drawings only roughly.

# %% [markdown]
# ## The same on real faces: reference results
#
# Committed with the project: ResNet18 trained on **FER-2013** for 20 epochs, seed 0 (the other seeds are in [notebook
# 05](05_compare_resnets.ipynb)). One row starts from random weights, three from the backbone that comes with the
# project: `fc`, `layer4` and `fc`, all layers. Of each, the learning rate was the best of three on validation images.
# The backbone is not torchvision's ImageNet file, so the *pattern* can be compared with the paper, the numbers only
# with care.


# %%
def show_results(runs):
    rows = {
        name: {
            "initial weights": one.config["weights_label"],
            "trained": one.config["trainable"],
            "px": one.config["image_size"],
            "epochs": one.config["epochs_run"],
            "learning rate": f"{one.config['learning_rate']:g}",
            "train": one.history["train_accuracy"].iloc[-1],
            "validation": one.history["validation_accuracy"].max(),
            "test": one.metrics["full"]["accuracy"],
            "leak-free": one.metrics["leak-free"]["accuracy"],
        }
        for name, one in runs.items()
    }
    show_table(pd.DataFrame.from_dict(rows, orient="index").rename_axis("accuracy"))


reference = reference_runs()
names = ("random", "fc", "layer4", "all")
show_results({name: reference[f"resnet18_{name}_seed0"] for name in names})

# %% [markdown]
# The paper's pattern is there: `fc` alone stays below 50 %, and `layer4` adds some thirty points of training accuracy
# (*train* is that of the last epoch; the other columns are about the weights of the best epoch on validation images).
# But look at *test*: about half as many points arrive there. All layers give six points more (68 %). And the row from
# random weights beats `layer4` and `fc` (65 against 62 %): of 26,000 images, a network learns early layers that suit
# faces better than the frozen ones, made for photographs of everything. Pretraining pays where it may adapt.

# %%
show_freezing(reference["resnet18_fc_seed0"], reference["resnet18_layer4_seed0"], work.reference)

# %% [markdown]
# ## What caching trades away
#
# With two cached views, as above, each epoch shows an image as one of the same two stored copies, so the network learns
# them by heart sooner. With as many copies as epochs, each is used once: as good as fresh ones. Here is `layer4` + `fc`
# on FER-2013 with four copies and with twenty, for 20 epochs, all else being equal. Training accuracy shows the
# learning by heart, the other columns what it costs; each run is a single seed, and another seed could move it. To
# measure the time saved: `python tests/benchmarks/benchmark.py caching --data PATH`.

# %%
views = {"four copies": "layer4_views4", "twenty copies": "layer4"}
show_results({name: reference[f"resnet18_{training}_seed0"] for name, training in views.items()})

# %% [markdown]
# Four copies: 96 % in training, 60 % in test; twenty: 77 and 62 %. Two points are the price of the shortcut.

# %% [markdown]
# ## What to take along
#
# * A new head learns what the frozen backbone's features hold: from random ones hardly more than the largest class.
# * In the reference runs, `layer4` and `fc` together had a much higher training accuracy than `fc` alone, and half as
#   many points more in test.
# * Frozen must include batch norm's statistics.
# * Choose with validation images; open the test set once; say how wide the interval is.
#
# **Exercises.** (1) Unfreeze one stage more. In a new cell, run
# `deeper = experiment.run(replace(config, trainable="layer3"), dataset, work.run_folder("resnet18_layer3"), device)`
# and compare the last rows of `deeper.history` and `layer4_run.history`: does validation accuracy follow training
# accuracy? (2) Make a mistake on purpose: call `paper_model.train()` instead of `train_mode(paper_model)` in the proof
# above. Which statistics change? (3) Build the model before the loop with `"fc"` instead of `"layer4"`: how far does
# the loss fall in three epochs? (4) Which two expressions are confused most, and would you have told them apart?
#
# Next: [does a deeper network do better?](03_finetune_resnet34.ipynb)
