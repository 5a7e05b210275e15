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
# # Live expressions: the webcam
#
# **You will learn** how a picture of a room becomes a label on a face, many times a second: finding the face, cutting
# it out as the training images were, classifying it, and calming the answer. And what such a label is worth.
#
# **Time:** about half a minute of computing, 15 minutes of reading, and as long as you like in front of the camera.
#
# **Series:** [01 explore](01_explore_fer2013.ipynb) · [02 ResNet18](02_finetune_resnet18.ipynb) ·
# [03 ResNet34](03_finetune_resnet34.ipynb) · [04 ResNet50](04_finetune_resnet50.ipynb) ·
# [05 compare](05_compare_resnets.ipynb) · **06 webcam** · [07 inside](07_inside_the_network.ipynb) ·
# [08 beyond](08_beyond_the_paper.ipynb)
#
# **Paper:** Sheng and Lau, *Optimising Facial Expression Recognition* (2024),
# [doi 10.11159/jmids.2024.005](https://doi.org/10.11159/jmids.2024.005), its real-time part and Fig. 5.

# %% [markdown]
# ## Parameters
#
# As they stand, all cells run on a demo clip, without a camera: a free photograph of an astronaut, moved about, then
# the drawn, synthetic face of this series. For your own face use the camera below, which has controls of its own, or
# set `source` and run the notebook again.

# %% tags=["parameters"]
# parameters of this notebook
source = "demo"  # or a camera ("0"), a video, an image or a folder of images, from notebooks/ or absolute
seconds = 12.4  # of the source that are used: all of the demo clip; an image counts as a second
network = "embedded"  # or a finished run of run_dir, such as "resnet18"; one trained on the sample knows only drawings
run_dir = "runs/default"  # for results; relative to the clone's root or, outside a clone, to the current folder
display_duration = 0.5  # seconds that a label stays at least
smoothing = 0.3  # seconds over which probabilities are averaged, the latest counting most; 0: none

# %%
from itertools import islice, pairwise

import matplotlib.pyplot as plt
import pandas as pd
import torch

from fer_nb_utils.classes import CLASS_COLORS, CLASSES
from fer_nb_utils.live import demo, session_page
from fer_nb_utils.live.detector import FaceDetector, face_crop
from fer_nb_utils.live.memory import Snapshots
from fer_nb_utils.live.outputs import annotate
from fer_nb_utils.live.realtime import BOX, Pipeline, realtime_prediction, stage_times
from fer_nb_utils.live.smoothing import SURE, Smoother, overlap
from fer_nb_utils.live.sources import Demo, open_source
from fer_nb_utils.live.widget import LiveCamera
from fer_nb_utils.networks.load import EMBEDDED, load_network
from fer_nb_utils.results.measures import confusion, correct, per_class
from fer_nb_utils.results.reference_runs import reference_runs
from fer_nb_utils.series.puppet import Puppet, puppet_sheet
from fer_nb_utils.series.show import show_figure, show_table
from fer_nb_utils.series.workspace import Workspace, check_parameters

check_parameters()
work = Workspace(run_dir)

# %% [markdown]
# ## Before you switch a camera on
#
# * **A label is not a feeling.** The network says which of seven words people would most likely have chosen for a
#   *picture*. One can smile without joy and grieve without a tear.
# * **It is often wrong**, and not equally for everybody: the training images come from a web search of 2013, in which
#   ages, skin tones and cultures are unevenly represented. Below are its error rates on the test images; on your face
#   they are unknown.
# * **Privacy:** the camera cell keeps pictures in memory only. With your own `source`, the figures with faces become
#   part of this notebook: clear its outputs before you save or share it.
# * **The law:** the European Union's AI Act (Article 5) forbids AI systems that infer emotions at work and in
#   education, except for medical or safety reasons. In a class, do not point it at pupils: show the demo clip, or your
#   own face, willingly. Store nothing, draw no conclusion about anybody, and ask your institution first.

# %%
tested = reference_runs()["resnet18_smoothed_seed0"].predictions
rates = per_class(tested)
errors = {"missed": 1 - rates["recall"], "false alarms": 1 - rates["precision"], "support": rates["support"]}
show_table(
    pd.DataFrame(errors),
    note="The embedded network on FER-2013's 7,178 test images. missed: share of an expression's images that got "
    "another label; false alarms: share of a label's images that show another expression.",
)

# %% [markdown]
# ## Your face
#
# Run the cell, choose a source, press **Start**. *This browser's camera* works wherever the browser shows JupyterLab by
# https or on localhost, even if Python runs on another machine; in VS Code's notebooks take *the kernel's camera 0*
# (there, the picture waits while a cell runs). The list of networks holds this series' own and those of your
# finished runs, by run folder and name. The box shows the label and its probability, the bars all seven. A label
# stays for the time set there; when its own probability falls below *sure from*, the box says **not sure** instead.
# **Stop**, running the cell again, or closing the notebook gives the camera back. For a film, write
# `LiveCamera(networks, source="film.mp4")`.
#
# * **When a label puzzles you,** tick *show the crop*: the network sees those 48 x 48 grey pixels and nothing else.
#   Turn your head, cover a lamp, take glasses off. *too dark* and *cut off* beside a label are such reasons, and
#   *too small* in pictures of some 200 lines and less; in larger ones a face so small is not found.
# * **Wrong every third time?** Press the button of an expression, make that face, and keep it for four seconds. Each
#   try counts once, under the label that most of its frames had. Do not leave out disgust. The table stays in this
#   kernel's memory (`camera.tries.counts`), and is about you, this camera and this light alone.

# %% tags=["nbval-ignore-output"]
trained = [run for folder in sorted(work.folder.parent.glob("*")) for run in Workspace(folder).run_folders()]
networks = {"embedded": EMBEDDED} | {f"{run.parts[-3]}: {run.name}": run for run in trained}
camera = LiveCamera(networks)
camera

# %% [markdown]
# And so it looks at work, a screenshot for those who only read; the buttons in it are part of the picture:
#
# ![Screenshot of the camera cell: a face in a box, labelled happy, the bars of the seven probabilities, and the
# controls](../figures/live_camera.png)

# %% [markdown]
# ## In a class: the puppet
#
# The same networks, without anybody's face: a drawn one, whose sliders are *action units*, the muscle groups of the
# Facial Action Coding System (notebook 01). Here every expression at full strength; with a running kernel, pull the
# sliders.

# %% tags=["nbval-ignore-output"]
show_figure(puppet_sheet(load_network()), photographs=True)

# %% tags=["nbval-ignore-output"]
Puppet(networks)

# %% [markdown]
# ## What happens to one frame
#
# Four steps, here by hand. **Detect:** a cascade of simple tests slides over a small copy of the frame and answers with
# boxes (the paper's `haarcascade_frontalface_default.xml`). **Crop:** the square round the box, grey, 48 x 48 pixels,
# framed like FER-2013. **Transform:** the very object that prepared the training images. **Classify.**

# %%
chosen = load_network(EMBEDDED if network == "embedded" else work.run_folder(network))
frame = next(islice(demo.demo_clip(), 30, None))
box = FaceDetector()(frame.image)[0]
crop = face_crop(frame.image, box)
inputs = chosen.transform(torch.from_numpy(crop)[None])
with torch.inference_mode():
    probabilities = chosen.model(inputs).softmax(dim=1)[0]
print(f"box {box.tolist()}, crop {crop.shape}, network input {tuple(inputs.shape)}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3), width_ratios=(4, 3, 4), layout="constrained")
axes[0].imshow(frame.image[:, :, ::-1])
axes[0].add_patch(plt.Rectangle(box[:2], *box[2:], fill=False, color="#E69F00", linewidth=2))
axes[1].imshow(crop, cmap="gray")
axes[2].barh(CLASSES, probabilities, color=CLASS_COLORS.values())
axes[2].set(xlabel="probability", xlim=(0, 1))
axes[2].invert_yaxis()
for axis in axes[:2]:
    axis.axis("off")
figure.suptitle("One frame: the face found, its crop, and the network's answer")
show_figure(figure, photographs=True)

# %% [markdown]
# `Pipeline` does the same for all faces of a frame at once, and then calms them. It must agree with the steps by hand,
# or the camera would show the network something it was never trained on.

# %%
pipeline = Pipeline(chosen.model, chosen.transform)
face = pipeline(frame.image, seconds=0.0).faces[0]
assert face.box == tuple(box)
assert torch.allclose(torch.from_numpy(face.probabilities).float(), probabilities, atol=1e-4)
print(f"by hand and by the pipeline: {face.label}")

# %% [markdown]
# ## The whole clip
#
# `realtime_prediction` is the paper's function: model, transform, how long a label stays, device. Ours also takes the
# source, and returns a table with a row for each face of each frame.

# %% tags=["nbval-ignore-output"]
snapshots = Snapshots()
table = realtime_prediction(
    chosen.model,
    chosen.transform,
    display_duration,
    "cpu",
    source,
    smoothing=smoothing,
    seconds=seconds,  # a camera has no end of its own
    snapshots=snapshots,
)
if source == "demo":  # how people's faces were labelled is not written to the disk unasked
    work.save_table(table, "live_frames")
print(f"frames: {table['frame'].nunique()}, faces followed: {table['face'].nunique()}", *table.attrs["problems"])
show_table(table.set_index("frame").iloc[::31, :7])

# %% [markdown]
# On the demo clip the face's place is known, so we can check each box: by its *intersection over union* (IoU) with the
# known one, the area they share over the area they cover together. 1 is perfect, 0.5 and more counts as found in the
# field. The known box reaches from brows to chin, by eye, so that a perfect 1 is not to be expected. On your own video
# expect misses, above all of faces seen from the side.

# %%
starts = [demo.PHOTOGRAPH_SECONDS + demo.EXPRESSION_SECONDS * number for number in range(len(CLASSES) + 1)]
spans = [(0, starts[0], "photograph"), *zip(starts, starts[1:], CLASSES, strict=False)]
shown_by_clip = spans if source == "demo" else []
note = f"{table.attrs['source']}; network: {chosen.name}, {chosen.transform.image_size} px; one CPU thread"
if source == "demo":
    known = pd.DataFrame([frame.box for frame in demo.demo_clip(Demo.rate)], columns=BOX)
    found = table.dropna(subset="face")
    pairs = zip(found[list(BOX)].to_numpy(int), known.loc[found["frame"]].to_numpy(), strict=True)
    iou = pd.Series([overlap([box], [place])[0, 0] for box, place in pairs])
    right = found["frame"][(iou >= 0.5).to_numpy()].nunique()
    print(f"the face is found in {right} of {table['frame'].nunique()} frames; other boxes: {(iou < 0.5).sum()}")
    print(f"IoU with the known place: median {iou.median():.2f}, least {iou.min():.2f}")
    assert right == len(table)

# %% [markdown]
# ## A strip of frames
#
# One frame a second, judged by itself. Above it stands what the clip showed: the photograph, or the expression drawn.
# The network learnt from photographs and has never seen a drawing. The drawn person was chosen among 1,091 random
# ones, as one of the few of whom it names six expressions (all but disgust): that makes a clip worth watching, and
# says nothing about how good the network is.


# %%
def annotated(source, most=12):
    pictures = {}
    with open_source(source) as frames:
        for frame in frames:
            if frame.seconds < len(pictures) + 0.5 and frames.is_film:  # one a second
                continue
            pipeline.reset()
            faces = pipeline(frame.image, frame.seconds).faces
            there = [what for start, end, what in shown_by_clip if start <= frame.seconds < end]
            pictures[": ".join([frame.file or f"{frame.seconds:.1f} s", *there])] = annotate(frame.image, faces)
            if len(pictures) == most:
                break
    return pictures


# %% tags=["nbval-ignore-output"]
pictures = annotated(source)
figure, axes = plt.subplots(max(1, -(-len(pictures) // 4)), 4, figsize=(10, 7), squeeze=False, layout="constrained")
for axis in axes.flat:
    axis.axis("off")
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=False):
    axis.imshow(picture[:, :, ::-1])
    axis.set_title(title, fontsize=9, parse_math=False)  # a file's name may hold dollars
figure.suptitle("What the pipeline sees")
show_figure(figure, photographs=True)

# %% [markdown]
# ## The probabilities over time
#
# The photograph does not change its expression; each drawn one grows from neutral and goes back. Look where the curves
# follow, and where the network sticks to its opinion. The band below is the label that was shown.

# %% tags=["nbval-ignore-output"]
figure = session_page.probabilities_over_time(table, shown_by_clip, note=note)
work.save_figure(figure, "live_probabilities")
show_figure(figure)

# %% [markdown]
# ## Flickering and sticking
#
# Each frame's own answer flickers: a small movement, another light, and the label changes. `smoothing` averages the
# probabilities over time, `display_duration` keeps a label for a while (unless its own probability falls below the
# threshold: then it is *not sure*); with too much of either, the label sticks to what has long passed. We take every
# frame's own answer, uncalmed, and count how often the label would have changed.

# %%
own_answers = realtime_prediction(chosen.model, chosen.transform, 0.0, "cpu", source, smoothing=0.0, seconds=seconds)
own_answers = own_answers.dropna(subset="face").drop_duplicates("frame")


def label_changes(smoothing, display_duration):
    smoother = Smoother(smoothing, display_duration)
    labels = []
    for _, row in own_answers.iterrows():
        box, probabilities = row[list(BOX)].to_numpy(int), row[list(CLASSES)].to_numpy(float)
        labels.append(smoother.update(row["seconds"], box[None], probabilities[None])[0].label)
    return sum(label != before for before, label in pairwise(labels))


# %% [markdown]
# On the demo clip expect some thirty-five changes without calming, to and from *not sure* included, less than half as
# many with this notebook's settings, and a handful with two seconds of smoothing, which is too slow for a clip that
# shows each expression for 1.2 seconds.

# %% tags=["nbval-ignore-output"]
settings = [(0.0, 0.0), (smoothing, display_duration), (2.0, display_duration)]
changes = pd.DataFrame(settings, columns=["smoothing", "display_duration"])
changes["changes of the label"] = [label_changes(*setting) for setting in settings]
show_table(changes.set_index("smoothing"), decimals=1, note=note)
assert changes["changes of the label"].is_monotonic_decreasing or (source, smoothing) != ("demo", 0.3)

# %% [markdown]
# ## How sure
#
# A probability of 0.6 should mean: right six times out of ten. `load_network` divides the logits by the checkpoint's
# *temperature*, fitted on validation images, to come close to that. A label below the threshold of 0.4 is none. What
# does refusing cost, and what does it bring? Here for the 7,178 test images, with any threshold: the higher, the fewer
# faces get a label, and the more of these are right. Expect about nine in ten answered at 0.4.

# %%
powers = tested[list(CLASSES)] ** (1 / load_network().temperature)
calibrated = powers.div(powers.sum(axis=1), axis=0)
answers = pd.DataFrame({"right": correct(tested).to_numpy(), "probability": calibrated.max(axis=1)})
rows = {}
for threshold in (0.0, 0.3, SURE, 0.5, 0.6, 0.8):
    answered = answers["probability"] >= threshold
    rows[threshold] = {"answered": answered.mean(), "right": answers["right"][answered].mean()}
    rows[threshold]["right, of the refused"] = answers["right"][~answered].mean()
show_table(pd.DataFrame.from_dict(rows, orient="index").rename_axis("threshold"), note="Shares of the test images.")

# %% [markdown]
# At 0.4 two in three of those refused would have been wrong; at 0.8 nine labels in ten are right, and six faces in ten
# get none. There is no best threshold without saying what a wrong label costs.
#
# ## Where the milliseconds go
#
# Ten milliseconds a frame are 100 frames a second, more than most cameras give. Between two searches of the whole frame
# (every 0.2 s) a face is looked for only round its last place, hence the short median and the long p95 of *detect*; and
# the network's batch norms are folded into its convolutions, which changes no answer. The bar is the median; one frame
# in twenty takes longer than the orange mark (p95). *read* is the source's own time (with a camera, the wait for its
# next frame) and not in the total; *draw* is the box and the label. Yours depend on the machine, and on what else it
# does.

# %% tags=["nbval-ignore-output"]
times = stage_times(table)
work.save_table(times, "live_milliseconds", note=note)
show_table(times, decimals=1, note=f"Milliseconds a frame. {note}")

# %% tags=["nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
axis.barh(times.index, times["median"])
axis.plot(times["p95"], times.index, "|", color="#D55E00", markersize=14, markeredgewidth=2)
axis.set(xlabel="milliseconds a frame: median (bar), 95th percentile (orange mark)")
axis.invert_yaxis()
figure.suptitle("Where the milliseconds go")
show_figure(figure)

# %% [markdown]
# ## Fig. 5: a snapshot of each expression
#
# The paper shows a snapshot of each of six expressions. Here is the moment at which the network was surest of each
# label; what it never said, or never surely enough, stays empty. Sure is not right: compare with what was drawn at that
# second.

# %% tags=["nbval-ignore-output"]
figure = session_page.snapshot_grid(snapshots, note=note)
if source == "demo":  # people's faces are not written to the disk unasked
    work.save_figure(figure, "fig5_snapshots")
show_figure(figure, photographs=True)

# %% [markdown]
# For your own session, above, write `show_figure(session_page.snapshot_grid(camera.snapshots))` in a new cell. To keep
# that picture, `session_page.snapshot_grid(camera.snapshots).savefig("me.png")`; to forget it, clear that cell's output
# and `camera.snapshots.clear()`.

# %% [markdown]
# ## Where is disgust?
#
# The paper never saw disgust live and blames its few training images: 436 of 28,709, one in 66. On the test images the
# network does find it, in more than half of them. What it mistakes the others for, and how rarely it says *disgust* at
# all:

# %%
counts = confusion(tested)
show_table(counts.loc[["disgust"]], note="The 111 test images of disgust, by the label that they got.")
print(f"{counts['disgust'].sum()} of {len(tested):,} labels are disgust ({counts['disgust'].sum() / len(tested):.1%})")

# %% [markdown]
# A network that learns from photographs in which one face in 66 shows disgust needs much evidence to say so, and takes
# the rest mostly for anger, which looks alike in brow and mouth. Before a camera comes a second reason: few people make
# that face on demand. Try it: wrinkle your nose and raise your upper lip. Whether it is the number of images, as the
# paper says, cannot be told from this; [notebook 08](08_beyond_the_paper.ipynb) tries remedies, and asks what becomes
# of *happy* with as few images.
#
# ## What to take away
#
# * Live, the network is one step of four, and the crop must look like the training images.
# * Smoothing trades flickering for lagging: report its settings with any live result.
# * A label says how a picture looks to a network. It is wrong about every third time, and it is not what you feel.
# * A network should be able to say that it does not know.
#
# In a terminal: `python -m fer_nb_utils live --help`; as one file for other programs: `python -m fer_nb_utils export`.
# Back to [the data](01_explore_fer2013.ipynb).
