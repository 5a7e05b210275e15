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
# # Comparing ResNet18, ResNet34 and ResNet50
#
# **You will learn** how to compare networks fairly: the paper's Tables 1 and 2 with intervals, whether a difference is
# more than chance, what accuracy costs, and how to check a paper's claims one by one, by rules that are written down.
#
# **Time:** one to two minutes of computing (nothing is trained here), 20 minutes of reading.
#
# **Series:** [01 explore](01_explore_fer2013.ipynb) · [02 ResNet18](02_finetune_resnet18.ipynb) ·
# [03 ResNet34](03_finetune_resnet34.ipynb) · [04 ResNet50](04_finetune_resnet50.ipynb) · **05 compare** ·
# [06 webcam](06_live_webcam.ipynb) · [07 inside](07_inside_the_network.ipynb) ·
# [08 beyond](08_beyond_the_paper.ipynb)
#
# **Paper:** Sheng and Lau, *Optimising Facial Expression Recognition* (2024),
# [doi 10.11159/jmids.2024.005](https://doi.org/10.11159/jmids.2024.005).
#
# * **Part A** compares the networks that notebooks 02 to 04 trained in this run folder.
# * **Part B** does the same, with the same code, for the results on the **real FER-2013** that come with the project.

# %% [markdown]
# ## Parameters
#
# Give the `data` and the `run_dir` that notebooks 02 to 04 were given. Runs on other data are left out.

# %% tags=["parameters"]
# parameters of this notebook
data = "sample"
run_dir = "runs/default"  # for results; relative to the clone's root or, outside a clone, to the current folder

# %%
import pandas as pd
from IPython.display import Markdown, display

from fer_nb_utils.data.dataset import load
from fer_nb_utils.figures.architecture import draw_architecture
from fer_nb_utils.figures.results import accuracy_cost, accuracy_intervals, class_f1, confusion_matrices, roc_curves
from fer_nb_utils.figures.training import training_curves
from fer_nb_utils.networks.resnets import MODELS, build_model
from fer_nb_utils.results import comparison, measures
from fer_nb_utils.results.claims import check_claims, rules
from fer_nb_utils.results.comparison import common_protocol
from fer_nb_utils.results.paper import PAPER_TABLE1, PAPER_TABLE2
from fer_nb_utils.results.reference_runs import handmade_predictions, reference_runs
from fer_nb_utils.series.show import show_figure, show_table
from fer_nb_utils.series.tables import markdown
from fer_nb_utils.series.workspace import Workspace, check_parameters

check_parameters()
work = Workspace(run_dir)

# %% [markdown]
# ## The three networks
#
# Fig. 1 of the paper for each of them, drawn from the models, with `layer4` and `fc` trained as in the paper, at 48
# pixels. Look at what is repeated more often in ResNet34 than in ResNet18, and at what ResNet50 does differently.

# %%
for name in MODELS:
    figure = draw_architecture(build_model(name, "none", "layer4"), name, image_size=48)
    work.reference.save_figure(figure, f"fig1_architecture_{name}")
    show_figure(figure)

# %% [markdown]
# # Part A: this run
#
# What notebooks 02 to 04 left behind. If one of them has not run yet, what there is gets compared.

# %% tags=["nbval-ignore-output"]
dataset = load(data)
trained = {name: run for name, run in work.runs().items() if run.config["fingerprint"] == dataset.fingerprint}
networks = {name: trained[name] for name in MODELS if name in trained}
missing = [name for name in MODELS if name not in networks]
if missing:
    numbers = " ".join(f"{2 + MODELS.index(name):02}" for name in missing)
    print(f"{', '.join(missing)} not found: run notebooks {numbers} with the same data and run_dir.")
print(f"Part A: {dataset.name}, {len(networks)} of 3 networks")

# %% [markdown]
# ## What was done
#
# Without the protocol no number means anything. Compare networks only where all but the network is the same.


# %% tags=["nbval-ignore-output"]
def show_protocol(runs, place, name="protocol"):
    keys = ["weights_label", "trainable", "image_size", "epochs_run", "best_epoch", "cached_views", "label_smoothing"]
    keys += ["seed"]
    rows = {
        run_name: {"data": run.config["data"]["name"]}
        | {key: run.config[key] for key in keys}
        | {"learning_rate": f"{run.config['learning_rate']:g}"}
        for run_name, run in runs.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")
    place.save_table(table, name)
    show_table(table, decimals=1)


if networks:
    show_protocol(networks, work)

# %% [markdown]
# ## Fig. 2: training
#
# Solid lines are training, as in the paper; dashed ones are validation images, which the network does not learn from.
# Where training leaves validation behind, the network has begun to learn its images by heart.
#
# Why can validation lie *above* training? Training images are augmented (turned, shifted, darkened), which makes them
# harder; their accuracy is a running average over the epoch, so it counts the weaker network of its beginning; and in
# training, batch norm uses the statistics of each batch, in validation those of all images. The loss with label
# smoothing is another quantity than the loss without: of runs that have it, the training loss is left out.


# %% tags=["nbval-ignore-output"]
def show_training(runs, place, name="fig2_training"):
    histories = {run_name: run.history for run_name, run in runs.items()}
    smoothed = [run_name for run_name, run in runs.items() if run.config["label_smoothing"]]
    figure = training_curves(histories, common_protocol(runs), smoothed)
    place.save_figure(figure, name)
    show_figure(figure)


if networks:
    show_training(networks, work)

# %% [markdown]
# ## Table 1
#
# Precision, recall and F1 are weighted by the number of images of each expression (so recall equals accuracy), AUC is
# the mean of seven one-against-rest AUCs. Each network's epoch was chosen by *validation* accuracy and then tested
# once. On FER-2013 the difference from the paper mixes everything else that is not the same; the protocol is below the
# table. Results on other data are shown beside the paper's, but never subtracted from them.


# %% tags=["nbval-ignore-output"]
def beside_paper(ours, paper, runs):
    same_data = all(run.config["data"]["name"] == "FER-2013" for run in runs.values())
    compared = comparison.compare_with_paper(ours, paper.loc[paper.index.isin(ours.index)], same_data)
    columns = ["ours", "paper", "difference"] if same_data else ["ours", "paper"]
    compared = compared[columns].rename_axis(columns="from")
    rows = {name: part.droplevel(0).T for name, part in compared.groupby(level=0, sort=False)}
    table = pd.concat(rows, names=paper.index.names)
    images = [None if pd.isna(count) else int(count) for count in table["support"]]  # their difference is nobody's
    return table.assign(support=pd.Series(images, table.index, dtype=object))


def show_table1(runs, place):
    ours = measures.table1({name: run.predictions for name, run in runs.items()})
    table = beside_paper(ours, PAPER_TABLE1, runs)
    place.save_table(table, "table1", note=common_protocol(runs))
    show_table(table, note=f"Ours: full test set. {common_protocol(runs)}")


if networks:
    show_table1(networks, work)

# %% [markdown]
# ## The same on four test sets, with intervals
#
# *PublicTest* and *PrivateTest* are the two halves of the test images; *leak-free* leaves out those with an identical
# twin in train. The intervals are 95 % bootstrap intervals: how much the number would vary with other test images of
# the same kind. They do not contain the luck of training: another seed gives another network.


# %% tags=["nbval-ignore-output"]
def show_test_sets(runs, place, suffix=""):
    rows = {}
    for test_set in next(iter(runs.values())).metrics:
        for name, run in runs.items():
            measured = run.metrics[test_set]
            low, high = measured["intervals"]["accuracy"]
            rows[test_set, name] = {key: measured[key] for key in measures.MEASURES} | {"low": low, "high": high}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["test set", "run"])
    place.save_table(table, f"table1_test_sets{suffix}", note=common_protocol(runs))
    show_table(table, note=f"low, high: 95 % interval of the accuracy. {common_protocol(runs)}")


if networks:
    show_test_sets(networks, work)

# %% [markdown]
# The same as a picture. Intervals of two networks may overlap although they differ: they were tested on the same
# images, which a test further below makes use of.


# %% tags=["nbval-ignore-output"]
def show_intervals(runs, place, suffix=""):
    metrics = {name: run.metrics for name, run in runs.items()}
    figure = accuracy_intervals(metrics, common_protocol(runs))
    place.save_figure(figure, f"accuracy_intervals{suffix}")
    show_figure(figure)


if networks:
    show_intervals(networks, work)

# %% [markdown]
# ## Table 2: the expressions
#
# For each expression the mean over the networks, and in a second table the 95 % bootstrap intervals of these means (all
# networks judged on the same resampled images). With few images of disgust, its row is the least certain.


# %% tags=["nbval-ignore-output"]
def show_table2(runs, place):
    ours = measures.table2({name: run.predictions for name, run in runs.items()})
    table = beside_paper(ours, PAPER_TABLE2, runs)
    note = f"Ours: mean over {', '.join(runs)}, full test set. {common_protocol(runs)}"
    place.save_table(table, "table2", note=note)
    show_table(table, note=note)
    intervals = measures.table2_intervals({name: run.predictions for name, run in runs.items()})
    place.save_table(intervals, "table2_intervals", note=note)
    show_table(intervals, note=f"95 % intervals. {note}")
    figure = class_f1(ours, note=note)
    place.save_figure(figure, "f1_expressions")
    show_figure(figure)


if networks:
    show_table2(networks, work)

# %% [markdown]
# ## What is taken for what
#
# Each row of a confusion matrix is what happened to the images of one expression. A ROC curve asks for one expression
# at a time how many of its images are found (up) at the price of how many false alarms (right).


# %% tags=["nbval-ignore-output"]
def show_mistakes(runs, place, suffix=""):
    predictions = {name: run.predictions for name, run in runs.items()}
    for draw, name in ((confusion_matrices, "confusion_matrices"), (roc_curves, "roc_curves")):
        figure = draw(predictions, note=common_protocol(runs))
        place.save_figure(figure, name + suffix)
        show_figure(figure)


if networks:
    show_mistakes(networks, work)

# %% [markdown]
# ## Is the difference more than chance?
#
# The networks saw the same test images, so only those count that one gets right and the other wrong: `b` (only the
# first is right) and `c` (only the second). McNemar's test asks whether a fair coin would split them like that. Three
# comparisons are three chances to be lucky; Holm's correction (`p_holm`) makes up for it. Below .05 we call it a
# difference.


# %% tags=["nbval-ignore-output"]
def show_significance(runs, place, suffix=""):
    table = comparison.compare_models({name: run.predictions for name, run in runs.items()})
    place.save_table(table, f"significance{suffix}", note=common_protocol(runs))
    show_table(table, note=f"difference: in accuracy. {common_protocol(runs)}")


if len(networks) > 1:
    show_significance(networks, work)

# %% [markdown]
# ## Accuracy against cost
#
# Parameters are memory; multiply-adds are work, the same on every machine; time is what you wait, on this machine and
# with whatever else it had to do. Every time is the one its run has recorded. Times are comparable only on the same
# device, with as many threads and epochs. On the left of each panel is cheap, at the top is good.


# %% tags=["nbval-ignore-output"]
def show_cost(runs, place, suffix=""):
    costs = comparison.cost_table(runs)
    place.save_table(costs, f"costs{suffix}")
    unlike = comparison.unlike_times(runs.values())
    times = (
        f"Times are not comparable: unlike {', '.join(unlike)}" if unlike else "Times on the same device and threads"
    )
    shown = ["device_name", "threads", "parameters", "trained_parameters", "multiply_adds", "latency_ms"]
    shown += ["training_seconds", "accuracy", "low", "high"]
    show_table(costs[shown], note=f"{times}. {common_protocol(runs)}")


if networks:
    show_cost(networks, work)


# %% tags=["nbval-ignore-output"]
def show_accuracy_against_cost(runs, place):
    figure = accuracy_cost(comparison.cost_table(runs), note=common_protocol(runs))
    place.save_figure(figure, "accuracy_cost")
    show_figure(figure)


if networks:
    show_accuracy_against_cost(networks, work)

# %% [markdown]
# ## The paper's claims, and how each is judged
#
# A rule says when a statement is true of a set of runs, when false, and when they cannot decide it. Rules belong before
# results; these were rewritten after the runs of part B had been made, and before any run from the embedded backbones.
# "Beyond chance" means a t-test at 5 % in which two kinds of chance count: that of training, known only from
# several runs with different seeds, and that of which images were in the test. One run of each network cannot rank
# them, however many images it is tested on. Each rule is meant to err in at most 5 % of cases where there is no
# difference; the tests show it by simulation.

# %%
display(Markdown(markdown(rules().to_frame().rename_axis("claim"))))

# %% [markdown]
# *True of these runs* is not yet *the claim holds here*: the paper speaks of FER-2013, of networks that know ImageNet,
# of `layer4` and `fc` trained for 20 epochs. Where the runs are not close to that, the verdict is *cannot tell*, and
# the evidence says why. On the synthetic sample that is always so. Other departures forbid no verdict, but are named.


# %% tags=["nbval-ignore-output"]
def show_claims(runs, fc, layer4, place, features=None):
    networks = {name: [run] for name, run in runs.items()}  # one seed each
    fc, layer4 = ([run] if run else [] for run in (fc, layer4))
    checked = check_claims(networks, fc, layer4, features).drop(columns="where")
    checked = checked.set_axis(rules().index).rename_axis("")
    place.save_table(checked, "claims", note=common_protocol(runs))
    display(Markdown(markdown(checked)))
    return checked


fc, layer4 = trained.get("resnet18_fc"), trained.get("resnet18_layer4")
if layer4 is None and "resnet18" in networks and networks["resnet18"].config["trainable"] == "layer4":
    layer4 = networks["resnet18"]  # then notebook 02 trained it once, for both purposes
checked = show_claims(networks, fc, layer4, work)
assert not dataset.synthetic or set(checked["verdict"]) == {"cannot tell"}

# %% [markdown]
# # Part B: reference results on the real FER-2013
#
# **From here on everything is measured on real faces.** The runs were made once, on a CPU, and come with the project.
# A CPU sets limits, so there are two sets, and neither is the paper's protocol:
#
# * all three networks **from random weights**, all layers trained, 48 px, a few epochs: equal terms, but a short race;
# * ResNet18 **from pretrained weights** (`conv1` to `layer3` from ImageNet, `layer4` from Tiny-ImageNet) at 64 px, with
#   ever more layers trained; the last, all layers, also with label smoothing and 16 epochs instead of 20.

# %%
reference = reference_runs()
real_networks = {name: reference[f"{name}_scratch_48px"] for name in MODELS if f"{name}_scratch_48px" in reference}
depths = {
    "resnet18 fc": "resnet18_fc_64px",
    "resnet18 layer4 cached": "resnet18_layer4_64px_cached",
    "resnet18 layer4": "resnet18_layer4_64px",
    "resnet18 all": "resnet18_all_64px",
}
real_depths = {label: reference[name] for label, name in depths.items() if name in reference}
assert all(run.config["data"]["name"] == "FER-2013" for run in [*real_networks.values(), *real_depths.values()])

# %% [markdown]
# ## Three networks from random weights

# %%
if real_networks:
    show_protocol(real_networks, work.reference)

# %%
if real_networks:
    show_training(real_networks, work.reference)

# %% [markdown]
# Validation lies above training in all four epochs of all three: none has begun to learn by heart, and all still rise.
# The deeper the network, the slower the start: the paper's ResNet50, which leads at first, knew ImageNet.
#
# Tables 1 and 2 beside the paper's. The paper started from ImageNet weights and trained for 20 epochs: expect to be far
# below it.

# %%
if real_networks:
    show_table1(real_networks, work.reference)

# %%
if real_networks:
    show_table2(real_networks, work.reference)

# %% [markdown]
# Happy and surprise lead here as in the paper; the worst is disgust (F1 .02), which these networks hardly ever say.
#
# On the four test sets: is *leak-free* lower than *full*? A network that has learnt some images by heart does better
# where the same images are asked again. But images that occur twice may also be easier: the difference is an upper
# bound.

# %%
if real_networks:
    show_test_sets(real_networks, work.reference)
    show_intervals(real_networks, work.reference)

# %% [markdown]
# *Leak-free* lies about one point below *full*, in all three. ResNet50 is about ten points behind on every test set;
# the intervals of ResNet18 and ResNet34 overlap.

# %%
if real_networks:
    show_mistakes(real_networks, work.reference)

# %% [markdown]
# Disgust is most often taken for angry, by ResNet50 for happy. In all three, the AUC of disgust (.78 to .91) is far
# better than its recall (at most 4 %): its score is higher for images of disgust, but rarely the highest of the seven.
#
# With 7,178 test images a paired test sees a difference of about one point. It is a difference between *these trained
# networks*: each was trained with one seed, and another seed could move it.

# %%
if len(real_networks) > 1:
    show_significance(real_networks, work.reference)

# %%
if real_networks:
    show_cost(real_networks, work.reference)
    show_accuracy_against_cost(real_networks, work.reference)

# %% [markdown]
# In so short a race, the cheapest network is also the most accurate: ResNet50 needs twice the multiply-adds of
# ResNet18.
#
# ## How much of ResNet18 to train
#
# From `fc` alone to all layers. *Cached* means that the frozen layers' output was computed once for four augmented
# copies of each image, instead of new ones in every epoch. The machine had other work beside these four, and not all
# had as many threads, so their times (right panel) tell nothing about cost.

# %%
if real_depths:
    show_protocol(real_depths, work.reference, "protocol_resnet18")

# %%
if real_depths:
    show_training(real_depths, work.reference, "training_resnet18_depths")

# %% [markdown]
# With *cached* features the network sees four copies of each image again and again: training reaches 97 %, and
# validation stays below that of new copies (57 % against 60 %). All layers, with label smoothing, validate best (67 %).

# %%
if real_depths:
    show_test_sets(real_depths, work.reference, "_resnet18_depths")
    show_intervals(real_depths, work.reference, "_resnet18_depths")

# %% [markdown]
# The steps are wider than the intervals: 47 % with `fc`, 62 % with `layer4`, 68 % with all layers. The runs differ in
# their learning rates too, and the last in label smoothing and epochs, so they do not say what each layer is worth.

# %%
if len(real_depths) > 1:
    show_significance(real_depths, work.reference, "_resnet18_depths")

# %% [markdown]
# All six differences are beyond chance in the choice of images, between these trained networks.
#
# The one with the best *validation* accuracy is the one to use; choosing by the test set would flatter it.

# %%
if real_depths:
    best = max(real_depths, key=lambda name: real_depths[name].history["validation_accuracy"].max())
    show_mistakes({best: real_depths[best]}, work.reference, "_resnet18_best")

# %% [markdown]
# This network finds 57 % of the images of disgust; fear is now the hardest (47 %), and most often taken for sad.
#
# ## The paper's claims on real faces
#
# The same rules. For *unfreeze*, `fc` alone and `layer4` are compared. They differ in the learning rate too, as each
# was given its own, and therefore decide nothing: the gain of 31 points in training accuracy may come from either. For
# the rest, the three networks from random weights, one run of each.

# %%
fc, layer4 = real_depths.get("resnet18 fc"), real_depths.get("resnet18 layer4")
checked = show_claims(real_networks, fc, layer4, work.reference, handmade_predictions().get("lbp_rbf"))
checked["verdict"].value_counts()

# %% [markdown]
# ## What to take along
#
# * State the protocol with every number; compare on equal terms; choose on validation images and test once.
# * On the same images use a paired test, and correct for the number of comparisons. The paper's three accuracies lie
#   within what chance explains: they do not say which network is best.
# * One run of each network says nothing about which is better: train several seeds before you rank.
# * "Cannot tell" is a result. It says which experiment is missing: here, ImageNet weights, `layer4` and `fc`, 20
#   epochs, several seeds, on a GPU: `python -m fer_nb_utils run --profile paper --data PATH` makes one run of each.
#
# Saved in the run folder: this run's figures and tables in `figures/` and `tables/`, the reference's in
# `reference/figures/` and `reference/tables/`. Next: [your own face](06_live_webcam.ipynb).
