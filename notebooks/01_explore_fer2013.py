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
# # Exploring FER-2013: look at the data before you train
#
# **You will learn** what is in the data set; why accuracy alone misleads when classes are unbalanced; how identical
# images leak from train to test and what that does to a result; how far the labels can be trusted; and how to split off
# validation images safely.
#
# **Time:** seconds of computing, 20 minutes of reading.
#
# **Series:** **01 explore** · [02 ResNet18](02_finetune_resnet18.ipynb) · [03 ResNet34](03_finetune_resnet34.ipynb) ·
# [04 ResNet50](04_finetune_resnet50.ipynb) · [05 compare](05_compare_resnets.ipynb) ·
# [06 webcam](06_live_webcam.ipynb) · [07 inside](07_inside_the_network.ipynb) ·
# [08 beyond](08_beyond_the_paper.ipynb)
#
# **Paper:** Sheng and Lau, *Optimising Facial Expression Recognition* (2024),
# [doi 10.11159/jmids.2024.005](https://doi.org/10.11159/jmids.2024.005).

# %% [markdown]
# ## Parameters
#
# As they stand, part A looks at synthetic faces, drawn for this project, and part B at the facts of FER-2013. Set
# `data` to your copy of FER-2013 (zip, folder or CSV), or to a folder of your own faces, and part A looks at that.

# %% tags=["parameters"]
# parameters of this notebook
data = "sample"
run_dir = "runs/default"  # for results; relative to the clone's root or, outside a clone, to the current folder
seed = 0

# %%
from collections import Counter
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.metrics import accuracy_score, f1_score, recall_score

from fer_nb_utils.classes import CLASS_COLORS, CLASSES, USAGES
from fer_nb_utils.data.audit import audit_index, index, load_index
from fer_nb_utils.data.dataset import PUBLISHED, count_images, load, split_validation
from fer_nb_utils.figures.data import pictures
from fer_nb_utils.figures.style import FAINT, INK, SMALL, finish, style
from fer_nb_utils.networks.load import EMBEDDED, load_network
from fer_nb_utils.results.paper import PAPER_COUNTS
from fer_nb_utils.series import widgets
from fer_nb_utils.series.puppet import Puppet, puppet_sheet
from fer_nb_utils.series.show import show_figure, show_table
from fer_nb_utils.series.workspace import Workspace, check_parameters

check_parameters()
work = Workspace(run_dir)

# %% [markdown]
# ## What FER-2013 is
#
# 35,887 grey photographs of faces, 48x48 pixels each, made for a contest at the ICML workshop of 2013
# ([Goodfellow et al. 2013](https://arxiv.org/abs/1307.0414)). They were found by *searching the web* for words of
# emotion, cut out by a face detector, and checked by people. The label says which words found the picture, sorted into
# seven expressions; nobody asked the person in it.
#
# The contest had three parts. *Training* was given out with labels, *PublicTest* fed the leaderboard, *PrivateTest*
# decided at the end. The archive that most people use puts both test parts into one folder, `test`.
#
# The photographs belong to others, so this project republishes none of them.

# %% [markdown]
# # Part A: the data at hand
#
# Whatever form the data come in, they end as arrays in memory: grey images, labels, and the part each belongs to.
# Beside the images we keep an *index*, one row an image: file, part (`usage`), label, mean and standard deviation of
# the pixels (0 black, 1 white), and a number that identical images share (`group`; -1 means that there is no other like
# it). It has no pixels, yet most of this notebook needs no more than that.

# %%
dataset = load(data)
table = index(dataset)
print(f"{dataset.name}: {len(dataset):,} images, {dataset.images.dtype} of {dataset.images.shape[1:]}")
show_table(table.head(3), note=dataset.name)

# %% [markdown]
# ## How many of each
#
# You should see one class that towers and one that is hardly there, in about the same proportions in all three parts.
# (The sample copies the proportions of FER-2013.)


# %%
@style()
def class_counts(counts, note=""):
    parts = [usage for usage in USAGES if usage in counts]
    figure, axes = plt.subplots(1, len(parts), figsize=(10, 3.2), sharey=True)
    for axis, usage in zip(axes, parts, strict=True):
        values = counts.loc[list(CLASSES), usage]
        bars = axis.barh(CLASSES, values, color=CLASS_COLORS.values(), height=0.75)
        labels = [f"{value:,}  ({value / max(values.sum(), 1):.1%})" for value in values]
        axis.bar_label(bars, labels, padding=3, fontsize=SMALL, color=FAINT)
        axis.set(title=f"{usage}: {values.sum():,}", xlabel="images", xlim=(0, max(values.max(), 1) * 1.6))
        axis.xaxis.set_major_locator(plt.MaxNLocator(3, integer=True))
        axis.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    return finish(figure, "Images per class and split", note)


counts = dataset.counts()
work.save_table(counts, "data_class_counts", note=dataset.name)
figure = class_counts(counts, note=dataset.name)
work.save_figure(figure, "data_class_counts")
show_figure(figure)

# %% [markdown]
# ## The faces
#
# The synthetic faces move as the Facial Action Coding System says: *happy* raises cheeks and lip corners, *angry*
# lowers the brows and tightens the lips, and so on. Some do it only slightly. You should see a row for each expression.
# (Of FER-2013 no faces are shown here.)

# %%
if dataset.name != "FER-2013":
    rows = {name: dataset.images[dataset.labels == label][:8] for label, name in enumerate(CLASSES)}
    figure = pictures(rows, [""] * 8, "The first faces of each class", note=dataset.name, limits=(0, 255))
    work.save_figure(figure, "data_faces")
    show_figure(figure)

# %% [markdown]
# With a running kernel, browse them all: guess first, then press *labels*. Which expressions do you confuse?

# %% tags=["nbval-ignore-output"]
widgets.browse_faces(dataset)

# %% [markdown]
# ## Action units: move a face yourself
#
# The drawn person below at full strength, with the action units of each expression, and what the embedded network,
# which learnt from photographs of FER-2013, says about the drawing. Expect it to be right about the clear ones only.

# %% tags=["nbval-ignore-output"]
show_figure(puppet_sheet(load_network()), photographs=True)

# %% [markdown]
# With a running kernel, pull the sliders: which single action unit changes the answer most? Can you make a face that is
# clear to you, and that the network gets wrong?

# %% tags=["nbval-ignore-output"]
Puppet({"FER-2013": EMBEDDED})

# %% [markdown]
# The mean of a class keeps what its faces share. Below it, what sets it apart: white is brighter than the average face,
# black is darker, grey is like it. Look for the brows of *angry*, the cheeks and mouth of *happy*, the open mouth of
# *surprise*. Where images are few, as for *disgust*, single faces still show through.

# %%
means = np.stack([dataset.images[dataset.labels == label].mean(axis=0) for label in range(7)]) / 255
apart = means - means.mean(axis=0)
rows = {"mean": means, "difference": 0.5 + 0.5 * apart / np.abs(apart).max()}
title = "Mean face of each class, and its difference from the average"
figure = pictures(rows, CLASSES, title, note=dataset.name, limits=(0, 1))
work.save_figure(figure, "data_mean_faces")
show_figure(figure)

# %% [markdown]
# ## Brightness and contrast
#
# If one class were brighter than the others, a network could guess by brightness and know nothing about faces. In the
# sample the classes lie one below the other: there is nothing to be had. (Part B: in FER-2013 there is a little.)
#
# The wider a shape, the more images have that value; the lines inside are the class's quartiles, and the dotted line
# through all of them is the median of all images.


# %%
@style()
def pixel_statistics(index, note):
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True)
    looks = {"hue": "label", "palette": CLASS_COLORS, "saturation": 1, "legend": False, "inner": "quart", "cut": 0}
    for axis, column, title in zip(axes, ("mean", "std"), ("Brightness", "Contrast"), strict=True):
        sns.violinplot(index, x=column, y="label", order=CLASSES, density_norm="width", ax=axis, **looks)
        axis.axvline(index[column].median(), color=INK, linewidth=1, linestyle=":")
        axis.set(title=title, xlabel=f"{column} of an image's pixels", ylabel="", xlim=(0, None))
    return finish(figure, "Brightness and contrast of the images, by class", note)


figure = pixel_statistics(table, note=dataset.name)
work.save_figure(figure, "data_pixel_statistics")
show_figure(figure)

# %% [markdown]
# ## The baseline: always say the commonest
#
# Before you train a network, ask how far one gets without. Two bad models: one always gives the commonest label of
# train, the other is right about everything but never says *disgust*.
#
# *Accuracy* counts images, so the rare class hardly matters to it. *F1*, weighted by class size as in the paper, has
# the same weakness. *Mean recall* counts classes: the share found of each class, averaged over the seven. You should
# see the second model lose a point or two of accuracy, and fourteen points of mean recall.


# %%
def scores(labels, answers):
    return {
        "images": len(labels),
        "accuracy": accuracy_score(labels, answers),
        "F1": f1_score(labels, answers, average="weighted"),
        "mean recall": recall_score(labels, answers, average="macro", labels=labels.unique()),
    }


# %%
def baselines(table):
    commonest = table.loc[table["usage"] == "Training", "label"].mode()[0]
    labels = table.loc[table["usage"] != "Training", "label"]
    models = {
        f"always {commonest}": labels.where(labels == commonest, commonest),
        "right, but never disgust": labels.where(labels != "disgust", "angry"),
    }
    rows = {name: scores(labels, answers) for name, answers in models.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


baseline = baselines(table)
work.save_table(baseline, "data_baselines", note=dataset.name)
show_table(baseline, note=dataset.name)

# %% [markdown]
# ## The audit: identical images
#
# Two pictures are identical when every pixel is. Copies within train do little harm. A copy in *test* of an image in
# *train* is a leak: the network is examined on a question whose answer it was given. Identical images with *different*
# labels cannot both be right. *Constant* images show nothing at all.
#
# FER-2013 has all of these, so the sample got a few: you should see six test images with a twin in train, and one pair
# whose labels contradict each other.

# %%
found = audit_index(table)
summary = found.summary().to_frame().rename_axis("finding")
work.save_table(summary, "data_audit", note=dataset.name)
show_table(summary, note=dataset.name)


# %% [markdown]
# Which labels contradict each other?


# %%
def conflicts(table, found):
    groups = table[table["group"].isin(found.conflicting)].groupby("group")["label"]
    pairs = Counter(pair for _, labels in groups for pair in combinations(sorted(set(labels)), 2))
    rows = {" / ".join(pair): count for pair, count in pairs.most_common(6)}
    return pd.Series(rows, dtype=int).to_frame("groups").rename_axis("labels of the same image")


show_table(conflicts(table, found), note=dataset.name)

# %% [markdown]
# ## The leak-free test set
#
# The remedy is simple: leave the test images with a twin in train out, and report the rest *beside* the full test set.
# The full set stays, because the numbers of others are about it.


# %%
def masks(found):
    return {"full": found.test, "with a twin in train": found.twin_in_train, "leak-free": found.leak_free}


def test_sets(table, found):
    rows = {name: table.loc[mask, "usage"].value_counts() for name, mask in masks(found).items()}
    counted = pd.DataFrame(rows).T.reindex(columns=["PublicTest", "PrivateTest"]).fillna(0).astype(int)
    return counted.assign(both=counted.sum(axis=1)).rename_axis(index="test set", columns=None)


leak_free = test_sets(table, found)
work.save_table(leak_free, "data_test_sets", note=dataset.name)
show_table(leak_free, note=dataset.name)

# %% [markdown]
# ## What a leak does to accuracy
#
# Take a model that learns *by heart* and understands nothing: it knows the label of every training image, and says the
# commonest for any other. On leak-free images it *is* the baseline. On the full test set it beats the baseline above,
# and all that it gains there is the leak.


# %%
def by_heart(table):
    train = table[table["usage"] == "Training"]
    learnt = train[train["group"] >= 0].groupby("group")["label"].agg(lambda labels: labels.mode()[0])
    return table["group"].map(learnt).fillna(train["label"].mode()[0])


def leak(table, found):
    answers = by_heart(table)
    sets = {name: mask for name, mask in masks(found).items() if mask.any()}
    rows = {name: scores(table["label"][mask], answers[mask]) for name, mask in sets.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("learnt by heart")


leaked = leak(table, found)
work.save_table(leaked, "data_leak", note=dataset.name)
show_table(leaked, note=dataset.name)

# %% [markdown]
# A real network knows more, so the leak gives it less: it adds (share of twins) x (accuracy on twins - accuracy on the
# rest). How much at most, for networks that reach 45, 65 and 85 % on leak-free images and know every twin by heart?
# On the sample it is next to nothing: there are six twins, and the label of one is wrong.


# %%
def gain(leaked, honest=(0.45, 0.65, 0.85)):
    share = 1 - leaked.loc["leak-free", "images"] / leaked.loc["full", "images"]
    twins = leaked["accuracy"].get("with a twin in train", 0)
    honest = pd.Series(honest, index=[f"{accuracy:.0%}" for accuracy in honest])
    full = (1 - share) * honest + share * twins
    return pd.DataFrame({"full": full, "points gained": 100 * (full - honest)}).rename_axis("leak-free")


show_table(gain(leaked), note=dataset.name)

# %% [markdown]
# ## Label noise: nobody reaches 100 %
#
# People who are shown FER-2013's faces give the label of the data set for **65 +- 5 %** of them
# ([Goodfellow et al. 2013](https://arxiv.org/abs/1307.0414)). A network can pass that, because it learns the habits of
# these labels, but what it then predicts better than people is the label, not the feeling. Ten people per picture were
# asked later, for [FER+](https://arxiv.org/abs/1608.01041), and often disagreed with the first label and each other.
#
# The synthetic faces were drawn *from* their labels, so all but the one planted label are right. They are hard only
# where an expression is weak.

# %% [markdown]
# ## Validation: a part of train, identical images on one side
#
# To choose between settings we need images that the network has not been trained on, and the test set is not for
# choosing. So a tenth of train is split off, of every class alike (*stratified*).


# %%
train, validation = split_validation(dataset, seed=seed)
parts = {name: part.counts()["Training"] for name, part in (("train", train), ("validation", validation))}
split = pd.DataFrame(parts).assign(share=lambda sizes: sizes["validation"] / sizes.sum(axis=1))
show_table(split, note=dataset.name)

# %% [markdown]
# A twin on either side of *this* border would be a leak too: validation would reward learning by heart. The check: does
# train hold any of the validation images?


# %%
def seen(train, validation):
    known = {image.tobytes() for image in train.images}
    return sum(image.tobytes() in known for image in validation.images)


print(f"{dataset.name}: {seen(train, validation)} of {len(validation):,} validation images are in train, too")
assert seen(train, validation) == 0

# %% [markdown]
# Is that a good split, or were there no twins to separate? Make sure: take every fourth image *twice*, and split that.
# A plain random draw puts most twins on both sides; ours must put none.

# %%
twice = train.subset(np.repeat(np.arange(0, len(train), 4), 2))
random = np.random.default_rng(seed).permutation(len(twice)) < len(twice) // 10
print(f"{dataset.name}, images taken twice: validation images that train holds, too")
print(f"  random draw  {seen(twice.subset(~random), twice.subset(random)):5,} of {random.sum():,}")
ours = split_validation(twice, seed=seed)
print(f"  our split    {seen(*ours):5,} of {len(ours[1]):,}")
assert seen(*ours) == 0

# %% [markdown]
# # Part B: the facts of FER-2013
#
# Everything below is about the **real data set**, from an index of it that is committed with the project: for each of
# the 35,887 images its part, label, brightness, contrast, and group of identical images. (When FER-2013 itself is the
# data at hand, part A has shown all this, and the cells below stay empty.)

# %%
real = None if dataset.name == "FER-2013" else load_index()
note = "FER-2013, from the committed index"
if real is not None:
    real_counts = count_images(real["label"], real["usage"])
    work.reference.save_table(real_counts, "data_class_counts", note=note)
    figure = class_counts(real_counts, note=note)
    work.reference.save_figure(figure, "data_class_counts")
    show_figure(figure)

# %% [markdown]
# For one face of *disgust* there are more than sixteen of *happy*. 111 test images of *disgust* also mean that its
# recall is known only to within some nine points.
#
# Now brightness: *surprise* is brighter than the rest and *sad* darker. The difference is small beside the spread, but
# a network will use it. Augmentation that changes the brightness at random (notebook 02) takes that short cut away.

# %%
if real is not None:
    figure = pixel_statistics(real, note=note)
    work.reference.save_figure(figure, "data_pixel_statistics")
    show_figure(figure)

# %% [markdown]
# The baseline, on the images of all the paper's tables: a result below .247 has learnt nothing. As on the sample,
# giving up on *disgust* altogether costs hardly any accuracy.

# %%
if real is not None:
    real_baseline = baselines(real)
    work.reference.save_table(real_baseline, "data_baselines", note=note)
    show_table(real_baseline, note=note)

# %% [markdown]
# The audit. A web search finds the same picture many times, and for different words. You should see 1,516 groups; 568
# test images, one in thirteen, have a twin in train; 57 groups contradict themselves.

# %%
if real is not None:
    real_found = audit_index(real)
    real_summary = real_found.summary().to_frame().rename_axis("finding")
    work.reference.save_table(real_summary, "data_audit", note=note)
    show_table(real_summary, note=note)

# %% [markdown]
# The labels that contradict each other most are the expressions that people, too, find hard to tell apart: *fear* and
# *surprise* share raised brows and an open mouth.

# %%
if real is not None:
    show_table(conflicts(real, real_found), note=note)

# %% [markdown]
# The leak-free test set has 6,610 images, and every result of this series is reported on it, too.

# %%
if real is not None:
    real_leak_free = test_sets(real, real_found)
    work.reference.save_table(real_leak_free, "data_test_sets", note=note)
    show_table(real_leak_free, note=note)

# %% [markdown]
# What the leak is worth: learning by heart, without any understanding, raises .247 to .315 on the full test set. A
# network that truly reaches 65 % can gain up to 2.4 points. Compare: in the paper's Table 1, ResNet18 and ResNet50 are
# 0.4 points apart.

# %%
if real is not None:
    real_leaked = leak(real, real_found)
    work.reference.save_table(real_leaked, "data_leak", note=note)
    show_table(real_leaked, note=note)
    show_table(gain(real_leaked), note=note)

# %% [markdown]
# And validation: of a tenth of FER-2013's train drawn at random, how many images would have a twin left in train? You
# should see about as large a share as in test. This is why our split keeps them together.

# %%
if real is not None:
    groups = real.loc[real["usage"] == "Training", "group"].to_numpy()
    drawn = np.random.default_rng(seed).permutation(len(groups)) < len(groups) // 10
    twins = (groups[drawn] >= 0) & np.isin(groups[drawn], groups[~drawn])
    print(f"FER-2013: {twins.sum()} of {drawn.sum():,} randomly drawn validation images ({twins.mean():.1%}) leak")

# %% [markdown]
# ## The paper's counts and the archive's
#
# The paper's text counts one image less in all and in training: 28,708 + 7,178 = 35,886. That is what the number of the
# last row would be, counted from zero. For testing it says 3,589, which is *one* of the two test parts; but the
# supports in its tables add up to 7,178, so both were used. We compare with the tables, hence on 7,178 images.

# %%
archive = PUBLISHED.sum()
ours = {
    "all": archive.sum(),
    "training": archive["Training"],
    "testing": archive["PublicTest"] + archive["PrivateTest"],
}
comparison = pd.DataFrame({"paper's text": PAPER_COUNTS, "archive": ours}).rename_axis("images")
comparison["difference"] = comparison["archive"] - comparison["paper's text"]
work.save_table(comparison, "data_paper_counts", note="FER-2013")
show_table(comparison, note="FER-2013")

# %% [markdown]
# ## What to take along
#
# * Know the baseline: a quarter is right by always saying *happy*. Look at recall per class beside accuracy.
# * Search for identical images before you believe a test result; report the leak-free set beside the full one.
# * Labels are opinions: around 65 % is what people reach here, and small differences between models mean little.
# * Split validation off train, stratified, with identical images on one side.
#
# The figures (`data_...`) are in `figures/` of the run's folder, the tables in `tables/`, those of part B below
# `reference/`.
#
# Next: [fine-tune ResNet18](02_finetune_resnet18.ipynb).
