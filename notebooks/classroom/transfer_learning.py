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
# # Transfer learning: guess, then run
#
# **You will learn** what a network that was trained on other pictures knows about faces, how a new head is put on it,
# what freezing means, and when all that does not help.
#
# **Time:** 90 minutes, of which the computer needs two or three. Nothing is downloaded, and no camera is used: the
# faces are drawn by a program, so they are called *synthetic*.
#
# **How it works:** in each of five parts you *guess*, write a few lines, let a cell *check* them, and *run*. A check
# says in a sentence what is wrong. A part does not need the parts before it. Numbers may differ in the second decimal
# from your neighbour's, because processors round differently.
#
# **Series:** [01 explore](../01_explore_fer2013.ipynb) · [02 ResNet18](../02_finetune_resnet18.ipynb), the same at
# leisure · [06 webcam](../06_live_webcam.ipynb)

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import display
from lesson import LiveCurve, accuracy, checking, fit, frozen_features, quiz
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import load, split_validation
from fer_nb_utils.networks.load import EMBEDDED, Network
from fer_nb_utils.networks.resnets import build_model, split_at
from fer_nb_utils.networks.transforms import Preprocess, batches
from fer_nb_utils.series.puppet import Puppet, puppet_sheet
from fer_nb_utils.series.show import show_figure

seed = 0
dataset = load("sample")
train, validation = split_validation(dataset, fraction=0.5, seed=seed)  # many to examine with: small parts mislead
labels, answers = torch.from_numpy(train.labels), torch.from_numpy(validation.labels)
inputs, questions = (Preprocess(48)(torch.from_numpy(part.images)) for part in (train, validation))
pretrained = frozen_features(build_model("resnet18", "embedded", "fc"), "fc", inputs, questions)  # for parts 2, 3, 5
print(f"{dataset.name}: {len(labels)} faces to learn from, {len(answers)} others to be examined on")

# %% [markdown]
# ## 1 · What does it know before it has seen a face? (15 minutes)
#
# Our ResNet18 was trained on photographs of *things*: dogs, chairs, buses. Cut off its last layer, and it turns a
# picture into 512 numbers, its **features**. Nobody has told it about faces. For each face below we look for the
# training face with the most similar features. **Guess:** how often will that one have the *same* expression? By chance
# it would be about one in six.
#
# **Exercise 1.** Write `features`: put `backbone` in evaluation mode and let it compute without gradients, 128 pictures
# at a time.
#
# <details><summary>Hint</summary>The mode is a method of the network. <code>torch.no_grad()</code> is used with
# <code>with</code>. <code>images.split(128)</code> gives the parts, and <code>torch.cat</code> joins a list of
# results.</details>

# %% tags=["nbval-ignore-output"]
quiz("neighbours")


# %% tags=["exercise"]
def features(backbone, images):
    """Float32 (n, 3, 48, 48) -> the backbone's output for each, (n, ...)."""
    # solution
    backbone.eval()
    with torch.no_grad():
        return torch.cat([backbone(part) for part in images.split(128)])
    # end


# %% tags=["check"]
with checking("exercise 1"):
    tried = split_at(build_model("resnet18", "embedded", "all"), "fc")[0].train()
    before = [buffer.clone() for buffer in tried.buffers()]
    some = features(tried, inputs[:20])
    assert torch.is_tensor(some), "features gives back no tensor; does it end with return?"
    assert some.shape == (20, 512), f"20 pictures should give (20, 512) numbers, not {tuple(some.shape)}."
    assert not tried.training, "the backbone is in training mode, where a picture's features depend on the others."
    unchanged = all(torch.equal(old, new) for old, new in zip(before, tried.buffers(), strict=True))
    assert unchanged, "the batch norms have learnt from the pictures; set the mode before you compute."
    assert not some.requires_grad, "the features still carry gradients, which cost time and memory."

# %% tags=["nbval-ignore-output"]
backbone, _ = split_at(build_model("resnet18", "embedded", "fc", seed=seed), "fc")
known, asked = features(backbone, inputs), features(backbone, questions)
nearest = (F.normalize(asked) @ F.normalize(known).T).argmax(dim=1)
print(f"same expression: {(labels[nearest] == answers).float().mean():.0%}")
figure, axes = plt.subplots(2, 7, figsize=(10, 3.4), layout="constrained")
for column, row in zip(axes.T, [int(torch.argmax((answers == label).int())) for label in range(7)], strict=True):
    for axis, part, index in zip(column, (validation, train), (row, int(nearest[row])), strict=True):
        axis.imshow(part.images[index], cmap="gray")
        axis.set(title=CLASSES[part.labels[index]], xticks=[], yticks=[])
figure.suptitle(f"A face of each expression, and below it the nearest training face ({dataset.name})")
show_figure(figure, photographs=True)

# %% [markdown]
# ## 2 · A new head, and the loss that falls (15 minutes)
#
# What looks alike to the network is often the person or the light, not the expression. But the expression may be *in*
# the 512 numbers all the same: a **head**, one linear layer from 512 to 7, can learn to read it. The backbone stays
# frozen, so we train on the features of before: a second instead of minutes. **Guess:** where does the loss begin, when
# the head knows nothing and gives each expression about a seventh? Then watch it fall. At the end the head should be
# right about some six in ten of the faces that it learns from, and about half of the others (who always says *happy* is
# right about a quarter).
#
# **Exercise 2.** One step of training: loss (`F.cross_entropy` of the head's outputs and the labels), clear the old
# gradients, compute new ones, let the optimizer move the weights. Return the loss as a number.
#
# <details><summary>Hint</summary>Four lines, in the order of the sentence: the optimizer clears, the loss goes
# <i>backward</i>, the optimizer makes a <i>step</i>. <code>.item()</code> makes a number of a tensor.</details>

# %% tags=["nbval-ignore-output"]
quiz("first_loss")


# %% tags=["exercise"]
def train_step(head, inputs, labels, optimizer):
    # solution
    loss = F.cross_entropy(head(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    # end


# %% tags=["check"]
with checking("exercise 2"):
    tried, some = torch.nn.Linear(4, 7), torch.rand(30, 4)
    step = torch.optim.SGD(tried.parameters(), lr=0.1)
    tried.weight.grad = torch.ones(7, 4)  # left over from before
    old, expected = tried.weight.detach().clone(), F.cross_entropy(tried(some), torch.arange(30) % 7)
    (slope,) = torch.autograd.grad(expected, tried.weight)
    loss = train_step(tried, some, torch.arange(30) % 7, step)
    moved = tried.weight.detach() - old
    assert isinstance(loss, float), "the loss should come back as a number, not as a tensor or as nothing."
    assert abs(loss - expected.item()) < 1e-4, f"the loss should be {expected:.3f} here, and is {loss:.3f}."
    assert moved.abs().max() > 0, "the weights have not moved; who makes the step?"
    added = torch.allclose(moved, -0.1 * (slope + 1), atol=1e-5)
    assert not added, "the old gradients were added to the new ones; clear them before."
    assert torch.allclose(moved, -0.1 * slope, atol=1e-5), "the weights moved, but not down the slope of this loss."

# %% tags=["nbval-ignore-output"]
known, asked = pretrained
torch.manual_seed(seed)
head = torch.nn.Linear(512, 7)
optimizer = torch.optim.AdamW(head.parameters(), lr=0.003)
curve = LiveCurve("loss", f"steps ({dataset.name})", np.log(7), "all sevenths: ln 7")
for _ in range(30):
    parts = batches(torch.randperm(len(labels)), 64)
    curve.add(*(train_step(head, known[few], labels[few], optimizer) for few in parts))
print(f"right: {accuracy(head, known, labels):.0%} in training, {accuracy(head, asked, answers):.0%} examined")


# %% [markdown]
# ## 3 · `fc`, or `layer4` and `fc`? (20 minutes)
#
# The paper behind this series says: train `layer4`, too. ResNet18 has 11 million weights in `conv1`, `layer1` to
# `layer4` and `fc`. **Guess:** what share of them is trained then? And which does better, `fc` alone or both, on the
# faces it learns from, and on the others? The last cell trains both on the cached output of the frozen layers, six
# passes each: seconds on most laptops, up to a minute on slow ones. Pale lines: the faces it learns from; strong ones:
# the others. Those are 700, so trust no difference below four points.
#
# **Exercise 3.** Frozen weights do not ask for gradients (`requires_grad` is `False`). Write `trained_share`: trained
# weights over all weights, between 0 and 1.
#
# <details><summary>Hint</summary><code>model.parameters()</code> gives tensors, and each holds many weights:
# <code>.numel()</code> says how many.</details>

# %% tags=["nbval-ignore-output"]
quiz("trained_share")


# %% tags=["exercise"]
def trained_share(model):
    # solution
    sizes = [(weights.numel(), weights.requires_grad) for weights in model.parameters()]
    return sum(size for size, trained in sizes if trained) / sum(size for size, _ in sizes)
    # end


# %% tags=["check"]
with checking("exercise 3"):
    tried = torch.nn.Sequential(torch.nn.Linear(9, 5), torch.nn.Linear(5, 5))
    tried[0].requires_grad_(False)
    share = trained_share(tried)
    assert share != 0.5, "you have counted tensors; a tensor holds many weights."
    assert share != 50 / 80, "that is the share of the frozen weights."
    assert share == 30 / 80, f"50 frozen and 30 trained weights should give 0.375, not {share}."
    assert trained_share(tried.requires_grad_(True)) == 1, "with nothing frozen the share should be 1."

# %% tags=["nbval-ignore-output"]
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
trained = {}
for axis, first in zip(axes, ("fc", "layer4"), strict=True):
    model = build_model("resnet18", "embedded", first, seed=seed)
    known, asked = pretrained if first == "fc" else frozen_features(model, first, inputs, questions)
    _, head = split_at(model, first)
    right = []
    for _ in fit(head, known, labels, passes=6, seed=seed):
        right.append((accuracy(head, known, labels), accuracy(head, asked, answers)))
    trained[first] = Network(f"trained here, {first}", model.eval(), Preprocess(48))
    axis.plot(range(1, 7), [pair[0] for pair in right], color="#b7b1d6")
    axis.plot(range(1, 7), [pair[1] for pair in right], color="#332288")
    axis.set(title=f"trained from {first}", xlabel="passes", ylim=(0, 1))
axes[0].set_ylabel(f"right, {dataset.name}")
show_figure(figure)

# %% [markdown]
# ## 4 · The trap: frozen, and yet it changes (10 minutes)
#
# Batch norm keeps a running mean and variance of what it sees. They are no weights: no gradient, no optimizer; they
# change whenever a batch passes **in training mode**. **Guess:** `fc` alone is trained, with `model.train()` before
# every pass, as many tutorials have it. What becomes of the "frozen" layers?
#
# **Exercise 4.** Write `set_modes`: training mode for the parts of the model that have weights to train, evaluation
# mode for all others.
#
# <details><summary>Hint</summary><code>model.modules()</code> gives every part, and <code>module.training</code> is a
# flag that you may set. A part has something to train if <code>any</code> of its parameters asks for
# gradients.</details>

# %% tags=["nbval-ignore-output"]
quiz("trap")


# %% tags=["exercise"]
def set_modes(model):
    # solution
    for module in model.modules():
        module.training = any(weights.requires_grad for weights in module.parameters())
    # end


# %% tags=["check", "nbval-ignore-output"]
with checking("exercise 4"):
    tried = build_model("resnet18", "embedded", "layer4", seed=seed).eval()
    first, last = tried.bn1.running_mean.clone(), tried.layer4[1].bn2.running_mean.clone()
    set_modes(tried)
    tried(inputs[:16])
    drift = (tried.bn1.running_mean - first).abs().max()
    assert drift == 0, f"bn1 is frozen, and yet its running mean moved by up to {drift:.2f}: it is in training mode."
    still = torch.equal(tried.layer4[1].bn2.running_mean, last)
    assert not still, "now layer4, which is trained, stays in evaluation mode; only the frozen layers should."
    assert tried.fc.training, "the head is in evaluation mode."

# %% [markdown]
# ## 5 · Few images or many? Pretrained, random, or no network at all? (15 minutes)
#
# Three kinds of numbers for each face, and the same simple head (logistic regression) on each: features of the
# *pretrained* backbone; of the same backbone with *random* weights; and the plain *pixels*, without any network.
# **Guess:** which wins with ten faces of each expression? And which with all 700? In the figure, points are means of
# five draws and bars two standard deviations either way. *Mean recall* counts all classes alike: a guesser reaches 1/7.
# Where the bars of two curves overlap, say "cannot tell".
#
# **Exercise 5.** With few images, chance decides *which*. Write `draw`: the positions of `per_class` images of each of
# the seven classes, drawn at random with `rng`, none twice.
#
# <details><summary>Hint</summary><code>np.flatnonzero(labels == label)</code> finds one class;
# <code>rng.choice(…, replace=False)</code> draws; <code>np.concatenate</code> joins.</details>

# %% tags=["nbval-ignore-output"]
quiz("few_or_many")


# %% tags=["exercise"]
def draw(labels, per_class, rng):
    # solution
    found = [np.flatnonzero(labels == label) for label in range(7)]
    return np.concatenate([rng.choice(positions, per_class, replace=False) for positions in found])
    # end


# %% tags=["check"]
with checking("exercise 5"):
    some = np.repeat(np.arange(7), (30, 5, 30, 60, 40, 40, 20))
    drawn, again = (draw(some, 5, np.random.default_rng(start)) for start in (0, 1))
    counts = np.bincount(some[drawn], minlength=7)
    assert len(drawn) == 35, f"five of each of seven classes are 35 positions, not {len(drawn)}."
    assert (counts == 5).all(), f"each class should come five times; yours come {counts.tolist()} times."
    assert len(set(drawn.tolist())) == 35, "some image was drawn twice."
    assert set(drawn.tolist()) != set(again.tolist()), "another rng should draw other images; yours never change."

# %% tags=["nbval-ignore-output"]
kinds = {"plain pixels": (inputs[:, 0].flatten(1), questions[:, 0].flatten(1))}
kinds["pretrained"] = pretrained
kinds["random"] = frozen_features(build_model("resnet18", "none", "fc", seed=seed), "fc", inputs, questions)
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
for (name, (known, asked)), color in zip(kinds.items(), ("#AA4499", "#332288", "#999933"), strict=True):
    recalls = []
    for per_class in (1, 3, 10, None):
        found = []
        for start in range(5 if per_class else 1):
            few = draw(train.labels, per_class, np.random.default_rng(start)) if per_class else slice(None)
            classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            classifier.fit(known[few], train.labels[few])
            found.append(balanced_accuracy_score(validation.labels, classifier.predict(asked)))
        recalls.append((np.mean(found), 2 * np.std(found)))
    axis.errorbar((7, 21, 70, len(labels)), *np.transpose(recalls), label=name, color=color, marker="o", capsize=3)
axis.axhline(1 / 7, color="#6b6b6b", linestyle=":")
axis.set(xscale="log", xlabel=f"faces to learn from ({dataset.name})", ylabel="mean recall", ylim=(0, 0.7))
axis.legend(frameon=False)
show_figure(figure)

# %% [markdown]
# ## When does transfer not help? And: play with it (5 minutes)
#
# With many pictures of an easy kind (drawn, upright, all cut alike), plain pixels come as far as the pretrained
# features. What the backbone knows helps most where you have *little* to learn from; it helps least where your pictures
# are many, or where what was learnt before has nothing to do with them.
#
# Now ask your network. Each slider is an **action unit**: one muscle group of the face, numbered as by the people who
# study them. Make a face on which `trained here` and `FER-2013`, a network that learnt from photographs, disagree. Can
# you find one that is clear to *you* and to neither of them? The sheet below shows the seven expressions as the data
# set draws them.

# %% tags=["nbval-ignore-output"]
display(Puppet({"trained here": trained["layer4"], "FER-2013": EMBEDDED}))
show_figure(puppet_sheet(trained["layer4"]), photographs=True)

# %% [markdown]
# ## What to take along
#
# * A pretrained network gives a picture as numbers; a small head reads what you need from them, in seconds.
# * Frozen means: no gradient **and** evaluation mode.
# * More trained weights fit the training faces better. Look at the *others* before you call that better.
# * Guess before you run, compare with a rival without a network, and say "cannot tell" where the bars overlap.
# * The faces are drawings and the labels are words: nothing here reads feelings.
