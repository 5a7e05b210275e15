# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
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
# **Time:** about half a minute of computing, 15 minutes of reading, and as long as you like before the camera.
#
# **Series:** [01 explore](01_explore_fer2013.ipynb) · [02 ResNet18](02_finetune_resnet18.ipynb) ·
# [03 ResNet34](03_finetune_resnet34.ipynb) · [04 ResNet50](04_finetune_resnet50.ipynb) ·
# [05 compare](05_compare_resnets.ipynb) · **06 webcam**
#
# **Paper:** Sheng and Lau, *Optimising Facial Expression Recognition* (2024),
# [doi 10.11159/jmids.2024.005](https://doi.org/10.11159/jmids.2024.005), its real-time part and Fig. 5.

# %% [markdown]
# ## Parameters
#
# As they stand, all cells run on a demo clip, without a camera: a free photograph of an astronaut, moved about, then the
# drawn face of this series. For your own face use the camera below, or set `source` and run the notebook again.

# %% tags=["parameters"]
# parameters of this notebook
source = "demo"  # or a camera's number ("0"), a video, an image, or a folder of images
network = "embedded"  # or a run of this run folder that has finished, such as "resnet18"
run_dir = "runs/default"
display_duration = 0.5  # seconds that a label stays at least
smoothing = 0.3  # seconds until a lasting change is shown by 63 %

# %%
from itertools import islice

import matplotlib.pyplot as plt
import pandas as pd
import torch

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.evaluation import confusion, per_class
from fer_nb_utils.live import figures
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.detector import FaceDetector, face_crop
from fer_nb_utils.live.overlay import annotate
from fer_nb_utils.live.pipeline import Pipeline
from fer_nb_utils.live.realtime import realtime_prediction, stage_times
from fer_nb_utils.live.snapshots import Snapshots
from fer_nb_utils.live.sources import open_source
from fer_nb_utils.live.widget import LiveCamera
from fer_nb_utils.networks import EMBEDDED, load_network
from fer_nb_utils.notebook import Workspace, check_parameters, show_figure, show_table
from fer_nb_utils.reference import reference_runs

check_parameters()
work = Workspace(run_dir)

# %% [markdown]
# ## Before you switch a camera on
#
# * **A label is not a feeling.** The network says which of seven words people would most likely have chosen for a
#   *picture*. One can smile without joy and grieve without a tear.
# * **It is often wrong**, and not equally for everybody: the training images come from a web search of 2013, with few
#   old, very young or dark-skinned faces. Below are its error rates on the test images; on your face they are unknown.
# * **Privacy:** pictures stay in memory, here and in the browser. Nothing is recorded unless you ask for it.
# * **The law:** the European Union's AI Act (Article 5) forbids AI systems that infer emotions at work and in education,
#   except for medical or safety reasons. In a class, show your own face, willingly, store nothing, and draw no
#   conclusion about anybody.

# %%
tested = reference_runs()["resnet18_all_64px"].predictions
rates = per_class(tested)[["recall", "precision", "support"]]
rates.insert(0, "missed", 1 - rates["recall"])
rates.insert(3, "false alarms", 1 - rates.pop("precision"))
show_table(rates, note="The embedded network on FER-2013's 7,178 test images. missed: share of the images of an "
           "expression that got another label; false alarms: share of the labels that were wrong.")

# %% [markdown]
# ## Your face
#
# Run the cell, choose a source, press **Start**. *This browser's camera* works wherever the browser shows JupyterLab by
# https or on localhost, even if Python runs on another machine; in VS Code's notebooks take *camera 0 of the kernel's
# machine*. The box shows the label, the bars all seven probabilities. **Stop**, running the cell again, or closing
# the notebook gives the camera back.
#
# ![The camera cell at work](../figures/live_camera.png)

# %% tags=["nbval-ignore-output"]
networks = {"resnet18_fer2013 (embedded)": EMBEDDED} | {name: run.folder for name, run in work.runs().items()}
camera = LiveCamera(networks)
camera

# %% [markdown]
# ## What happens to one frame
#
# Four steps, here by hand. **Detect:** a cascade of simple tests slides over a small copy of the frame and answers with
# boxes (the paper's `haarcascade_frontalface_default.xml`). **Crop:** the square round the box, grey, 48 x 48 pixels,
# framed like FER-2013. **Transform:** the very object that prepared the training images. **Classify.**

# %%
chosen = load_network(EMBEDDED if network == "embedded" else work.run_folder(network))
frame = next(islice(demo_clip(), 30, None))
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
axes[2].barh(CLASSES, probabilities)
axes[2].set(xlabel="probability", xlim=(0, 1))
axes[2].invert_yaxis()
for axis in axes[:2]:
    axis.axis("off")
show_figure(figure)

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
    chosen.model, chosen.transform, display_duration, "cpu", source, smoothing=smoothing, snapshots=snapshots
)
work.save_table(table, "live_frames")
show_table(table.drop_duplicates("frame").iloc[::30, :8])

# %%
note = f"{table.attrs['source']}; network {chosen.name}"
if source == "demo":
    assert table["face"].notna().all() and len(table) == table["frame"].nunique()  # one face in every frame

# %% [markdown]
# ## A strip of frames
#
# Above each drawn face stands the expression that was drawn. The network was trained on photographs and has never seen
# a drawing: what it says of them tells how far it carries, not how good it is.

# %% tags=["nbval-ignore-output"]
if source == "demo":
    pipeline.reset()
    shown = [frame for frame in demo_clip(5)]
