"""The project's speed, as ratios measured in one run: close other programs first.

python tests/benchmarks/benchmark.py throughput   training loop against bare steps on random tensors (aim: 0.9 or more)
python tests/benchmarks/benchmark.py caching      cached features against a plain loop (aim: layer4 2x, fc 5x)
python tests/benchmarks/benchmark.py small_maps   steps of layer4 with matrix products against plain convolutions
python tests/benchmarks/benchmark.py memory       peak memory of a ResNet18 run at 64 px (aim: 2.5 GB or less)
python tests/benchmarks/benchmark.py series       the whole series on the sample (aim: 3 minutes or less)
python tests/benchmarks/benchmark.py sweep        two trainings at once, by dask, against one after the other
python tests/benchmarks/benchmark.py live         the live pipeline (aim: median 9 ms a frame, p95 15 ms)
python tests/benchmarks/benchmark.py classify     one face: torch, folded, ONNX Runtime, OpenVINO where it is installed
python tests/benchmarks/benchmark.py detect       a face followed against a search of every whole frame
python tests/benchmarks/benchmark.py peers        the live pipeline against other packages: speed, memory, accuracy
python tests/benchmarks/benchmark.py large        ten faces in frames of 3840x2160 (aim: 15 frames/s)
python tests/benchmarks/benchmark.py film         a film against its decoding, and memory by the minute (aim: flat)
python tests/benchmarks/benchmark.py browser      camera to overlay by stage (aim: 24 frames/s, p95 80 ms, flat memory)
python tests/benchmarks/benchmark.py puppet       a slider's move to the bars in the page (aim: 100 ms)

`--data PATH` (or FER2013_PATH) takes FER-2013; without it the synthetic sample is used.
"""

import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import click
import cv2
import numpy as np
import pandas as pd
import psutil
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import Dataset, load, split_validation
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.detector import FaceDetector, square
from fer_nb_utils.live.memory import Snapshots
from fer_nb_utils.live.outputs import annotate, video_writer
from fer_nb_utils.live.realtime import Pipeline, realtime_prediction, stage_times
from fer_nb_utils.networks.device import autocast, best_precision
from fer_nb_utils.networks.export import export
from fer_nb_utils.networks.load import EMBEDDED, Network, folded, load_network
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.resnets import MODELS, build_model, split_at, train_mode
from fer_nb_utils.networks.small_maps import small_maps_as_matrices
from fer_nb_utils.networks.transforms import IMAGENET_MEAN, IMAGENET_STD, Augment, Preprocess
from fer_nb_utils.series.puppet import UNITS
from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.features import AugmentedImages, CachedFeatures, compute_features
from fer_nb_utils.training.loop import _Loop

CPU = torch.device("cpu")
PRECISION = best_precision(CPU)
WARM_UP = 10  # frames


@click.group()
def main() -> None:
    """Measure one thing."""


@main.command()
@click.option("--data", help="FER-2013; default: FER2013_PATH, else the sample.")
@click.option("--rounds", default=5, show_default=True)
def throughput(data: str | None, rounds: int) -> None:
    """Images per second of the training loop, augmentation included, over those of bare steps on random tensors."""
    train = _train_images(data, 1024)
    for size in (48, 64):
        seconds = _alternate(train, size, rounds)
        rates = {name: len(train) / statistics.median(times) for name, times in seconds.items()}
        shown = ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items())
        print(f"resnet18, {size} px, {PRECISION}: {shown}, ratio {rates['loop'] / rates['bare']:.2f}")


def _alternate(train: Dataset, size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of epochs of the loop and of bare steps, in turns, so that whatever else the machine does hits both."""
    model = build_model("resnet18", "none", "all").to(memory_format=torch.channels_last)
    loop = _Loop(model, TrainConfig(trainable="all", epochs=1000), torch.from_numpy(train.labels), PRECISION, CPU)
    source = AugmentedImages(torch.from_numpy(train.images), Preprocess(size), Augment())
    loop.epoch(1, source)  # warm-up
    seconds = {"loop": [], "bare": []}
    for number in range(rounds):
        seconds["loop"].append(_timed(loop.epoch, number + 2, source))
        seconds["bare"].append(_timed(_bare_epoch, model, loop.optimizer, len(train), size))
    return seconds


def _bare_epoch(model: torch.nn.Module, optimizer: torch.optim.Optimizer, images: int, size: int) -> None:
    inputs = torch.randn(128, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, len(CLASSES), (128,))
    for _ in range(images // 128):
        with autocast(CPU, PRECISION):
            loss = F.cross_entropy(model(inputs).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@main.command()
@click.option("--data", help="FER-2013; default: FER2013_PATH, else the sample.")
@click.option("--images", default=2048, show_default=True, help="Size of the slice.")
def caching(data: str | None, images: int) -> None:
    """20 epochs with four cached views over a plain loop: ImageFolder, torchvision transforms, two workers."""
    train = _train_images(data, images)
    size, views, epochs = 64, 4, 20
    with tempfile.TemporaryDirectory() as folder:
        _write_images(train, Path(folder))
        for trainable in ("layer4", "fc"):
            plain = _timed(_plain_epoch, Path(folder), size, trainable) * epochs
            config = TrainConfig(trainable=trainable, epochs=epochs)
            model = build_model("resnet18", "none", trainable).to(memory_format=torch.channels_last)
            backbone, head = split_at(model, trainable)
            start = time.perf_counter()
            source = AugmentedImages(torch.from_numpy(train.images), Preprocess(size), Augment())
            features = compute_features(source, backbone, views, PRECISION, Path(folder) / "features.npy")
            cached = CachedFeatures(features, np.arange(len(train)), CPU, seed=0)
            loop = _Loop(head, config, torch.from_numpy(train.labels), PRECISION, CPU)
            for epoch in range(1, epochs + 1):
                loop.epoch(epoch, cached)
            ours = time.perf_counter() - start
            times = f"plain {plain:.0f} s, cached {ours:.0f} s, {plain / ours:.1f} times faster"
            print(f"{trainable:6} {epochs} epochs: {times}")


def _plain_epoch(folder: Path, size: int, trainable: str) -> None:
    """The loop of most tutorials, in the same precision, with the same frozen layers and the same augmentation."""
    strengths = Augment()
    pipeline = transforms.Compose(
        [
            transforms.Grayscale(3),
            transforms.Resize(size),
            transforms.RandomHorizontalFlip(strengths.flip),
            transforms.RandomAffine(
                strengths.rotation,
                (strengths.shift, strengths.shift),
                (1 - strengths.scale, 1 + strengths.scale),
                strengths.shear,
            ),
            transforms.ColorJitter(strengths.brightness, strengths.contrast),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    loader = DataLoader(datasets.ImageFolder(str(folder), pipeline), batch_size=128, shuffle=True, num_workers=2)
    model = build_model("resnet18", "none", trainable).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), fused=True)
    train_mode(model)
    for inputs, labels in loader:
        with autocast(CPU, PRECISION):
            loss = F.cross_entropy(model(inputs.contiguous(memory_format=torch.channels_last)).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _write_images(train: Dataset, folder: Path) -> None:
    for number, (image, label) in enumerate(zip(train.images, train.labels, strict=True)):
        path = folder / CLASSES[label] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path, quality=95)


@main.command("small_maps")
@click.option("--rounds", default=5, show_default=True)
def small_maps(rounds: int) -> None:
    """Processor time of training steps of `layer4` and `fc` at 64 px, in turns with and without matrix products."""
    for name, precision in product(MODELS, dict.fromkeys(("float32", PRECISION))):
        head = split_at(build_model(name, "none", "layer4").to(memory_format=torch.channels_last), "layer4")[1]
        train_mode(head)
        maps = torch.randn(128, 1024 if name == "resnet50" else 256, 4, 4)
        optimizer = torch.optim.AdamW(head.parameters(), fused=True)
        seconds = {"plain": [], "products": []}
        for kind in [*seconds] * (rounds + 1):
            start = time.process_time()
            with small_maps_as_matrices(head) if kind == "products" else nullcontext():
                with autocast(CPU, precision):
                    loss = F.cross_entropy(head(maps).float(), torch.zeros(128, dtype=torch.long))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            seconds[kind].append(time.process_time() - start)
        plain, products = (statistics.median(times[1:]) for times in seconds.values())
        print(f"{name}, {precision}: {128 / plain:.0f} and {128 / products:.0f} images/s, ratio {plain / products:.2f}")


@main.command()
@click.option("--data", help="FER-2013; default: FER2013_PATH, else the sample.")
def memory(data: str | None) -> None:
    """Peak memory of ResNet18 at 64 px: layer4 on four cached views, and all layers, each in a process of its own."""
    for trainable, views in (("layer4", 4), ("all", 0)):
        settings = {"weights": "none", "trainable": trainable, "cached_views": views, "epochs": 1, "image_size": 64}
        with tempfile.TemporaryDirectory() as folder:
            code = (
                "import resource\n"
                "from fer_nb_utils.data.dataset import load\n"
                "from fer_nb_utils.training import config, experiment\n"
                f"config, dataset = config.TrainConfig(**{settings}), load({data!r})\n"
                f"run = experiment.run(config, dataset, {folder + '/run'!r}, 'cpu')\n"
                "print(len(run.predictions), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        tested, peak = done.stdout.splitlines()[-1].split()
        print(f"resnet18, 64 px, {trainable}, {views} cached views, {tested} test images: {int(peak) / 2**20:.2f} GiB")


@main.command()
def series() -> None:
    """Seconds of the whole series on the sample, in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fer_nb_utils", "run", "--run-dir", folder]
        seconds = _timed(subprocess.check_call, command)
    print(f"series on the sample: {seconds / 60:.1f} minutes")


@main.command()
def sweep() -> None:
    """Four trainings on the sample by a sweep with two workers, its start included, and in a plain loop, in turns."""
    settings = {"weights": "embedded", "trainable": "all", "image_size": 48, "epochs": 4, "batch_size": 32}
    code = (
        "import sys; from fer_nb_utils.data.dataset import load; from fer_nb_utils.training import config, experiment"
    )
    code += f"\nfor seed in range(4): experiment.run(config.TrainConfig(**{settings}, seed=seed), load('sample'), "
    code += "f'{sys.argv[1]}/{seed}')"
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "four.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        plan.write_text("\n".join(["[settings]", *lines, "[grid]", "seed = [0, 1, 2, 3]"]), encoding="utf-8")
        for turn in range(2):
            swept = ["-m", "fer_nb_utils", "sweep", str(plan), "--run-dir", f"{folder}/sweep{turn}", "--workers", "2"]
            for name, arguments in {"sweep": swept, "plain loop": ["-c", code, f"{folder}/loop{turn}"]}.items():
                print(f"{name}: {_timed(subprocess.check_call, [sys.executable, *arguments]):.0f} s", flush=True)


@main.command()
@click.option("--rounds", default=5, show_default=True)
def live(rounds: int) -> None:
    """Milliseconds a frame by stage: 640x480, one face, the embedded ResNet18 at 64 px, no browser, in turns."""
    tables = {name: [] for name in NETWORKS}
    with _networks() as networks:
        for number, (name, network) in product(range(rounds + 1), networks.items()):
            table = realtime_prediction(network.model, network.transform, source="demo")
            tables[name] += [table.assign(frame=table["frame"] + 1000 * number)] if number else []  # the first warms up
    for name, found in tables.items():
        table = pd.concat(found)
        print(f"{name}, {table['frame'].nunique()} frames, milliseconds a frame\n{stage_times(table).round(1)}")


NETWORKS = "torch", "ONNX Runtime", "ONNX Runtime, int8"


@contextmanager
def _networks() -> Iterator[dict[str, Network]]:
    """The embedded network, and exported, also in integers."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "faces.onnx", Path(folder) / "int8.onnx"
        for path, faces in zip(paths, (None, load("sample").images[::10]), strict=True):
            export(load_network(), path, calibration=faces)
        yield dict(zip(NETWORKS, map(load_network, (EMBEDDED, *paths)), strict=True))


@main.command()
@click.option("--data", help="FER-2013, whose test images must all get the same answers; default: as above.")
@click.option("--rounds", default=300, show_default=True)
def classify(data: str | None, rounds: int) -> None:
    """Processor time of one face's probabilities on one thread, in turns, and how far each is from torch as trained."""
    network = load_network()
    test = load(data).select("PublicTest", "PrivateTest").images
    torch.set_num_threads(1)
    ways = {"torch": _torch(network, network.model), "torch, folded": _torch(network, folded(network.model))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(network, path)
        ways |= {"ONNX Runtime": _onnxruntime(path)} | ({"OpenVINO": _openvino(path)} if find_spec("openvino") else {})
        times = {name: [] for name in ways}
        for number in range(rounds):
            for name, way in ways.items():
                start = time.process_time()
                way(test[number % len(test)][None])
                times[name].append(1000 * (time.process_time() - start))
        answers = {
            name: np.concatenate([way(part) for part in np.array_split(test, 100)]) for name, way in ways.items()
        }
    medians, first = {name: np.median(each[rounds // 6 :]) for name, each in times.items()}, answers["torch"]
    for name, found in answers.items():
        others = (found.argmax(1) != first.argmax(1)).sum()
        print(
            f"{name:14} {medians[name]:.1f} ms, {medians['torch'] / medians[name]:.2f} times as fast; "
            f"{len(test)} test images: at most {np.abs(found - first).max():.0e} off, {others} other labels"
        )


def _torch(network: Network, model: torch.nn.Module) -> Callable:
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    return lambda faces: predict(model, torch.from_numpy(faces), network.transform)


def _onnxruntime(path: Path) -> Callable:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    return lambda faces: session.run(None, {"faces": faces})[0]


def _openvino(path: Path) -> Callable:
    openvino = import_module("openvino")  # no requirement: compared where somebody has installed it

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(path, "CPU", settings).create_infer_request()
    return lambda faces: request.infer({0: faces})[0].copy()


@main.command()
def detect() -> None:
    """Processor time of finding the demo clip's face: in whole frames, and followed."""
    whole, follower, times = FaceDetector(), FaceDetector(), []
    for frame in demo_clip(30):
        start = time.process_time()
        whole(frame.image)
        middle = time.process_time()
        follower.follow(frame.image, frame.seconds)
        times.append((middle - start, time.process_time() - middle))
    for name, each in zip(("whole frames", "followed"), 1000 * np.array(times).T, strict=True):
        print(f"{name:12} median {np.median(each):.1f} ms, p95 {np.percentile(each, 95):.1f} ms")


@main.command()
@click.option("--peer-python", help="Python of an environment with fer, facex, tensorflow-cpu and an OpenCV below 5.")
@click.option("--data", help="FER-2013, on whose test images all are scored; default: as above.")
@click.option("--images", default=7178, show_default=True, help="How many of them, drawn at random.")
@click.option("--rounds", default=3, show_default=True, help="How often each labels the clip.")
def peers(peer_python: str | None, data: str | None, images: int, rounds: int) -> None:
    """Frames of the demo clip to labels, each way in a process of its own, in turns at every frame; and accuracy.

    Test images are given as cut-out faces, so detection plays no part in accuracy. OpenCV's sample only detects.
    """
    test, frames = load(data).select("PublicTest", "PrivateTest"), [frame.image for frame in demo_clip()]
    test = test.subset(np.random.default_rng(0).permutation(len(test))[:images])
    pythons = dict.fromkeys(("ours", "ours, ONNX", "OpenCV"), sys.executable)
    pythons |= dict.fromkeys(("fer", "fer, Keras", "facex"), peer_python) if peer_python else {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        np.save(f"{folder}/frames.npy", frames)
        np.save(f"{folder}/faces.npy", test.images)
        export(load_network(), Path(folder) / "faces.onnx")
        script = Path(__file__).with_name("peers.py")
        ask = {name: _worker([python, script, name, folder], stack) for name, python in pythons.items()}
        seen = {name: [] for name in ask}
        for number in [*range(WARM_UP), *range(len(frames))] + [*range(len(frames))] * (rounds - 1):
            for name, answer in ask.items():
                seen[name].append(answer(str(number)))
        memory = {name: answer("memory") for name, answer in ask.items()}
        labels = {name: answer("faces") for name, answer in ask.items()}
    truth, private = np.array(CLASSES)[test.labels], test.usage == "PrivateTest"
    for name, answers in seen.items():
        clock, processor, found = zip(*answers[WARM_UP:], strict=True)
        right = labels[name] is not None and np.array(labels[name]) == truth
        scores = f"{np.mean(right):.3f}, PrivateTest {right[private].mean():.3f}" if labels[name] else "none"
        print(
            f"{name:10} {1000 / np.mean(clock):5.1f} frames/s, median {np.median(clock):.1f} ms (processor "
            f"{np.median(processor):.1f}), a face in {np.mean([bool(each) for each in found]):.0%} of frames, "
            f"peak {memory[name]} MiB, accuracy {scores}"
        )


def _worker(command: list, stack: ExitStack) -> Callable:
    """Start peers.py; what it answers to a line."""
    quiet = {"stderr": subprocess.DEVNULL, "text": True}
    process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **quiet))

    def answer(line: str) -> object:
        print(line, file=process.stdin, flush=True)
        return json.loads(process.stdout.readline() or '"died"')

    return answer


@main.command()
@click.option("--frames", default=100, show_default=True)
def large(frames: int) -> None:
    """Ten moving faces in frames of 3840x2160, detection to label, by each of NETWORKS, in turns."""
    with _networks() as networks:
        pipelines = {name: Pipeline(network.model, network.transform) for name, network in networks.items()}
    clip, rows = [*demo_clip()], {name: [] for name in networks}
    for number in range(WARM_UP + frames):
        image = _crowd(clip, number)
        for name, pipeline in pipelines.items():
            start, processor = time.perf_counter(), time.process_time()
            result = pipeline(image, number / 15)
            label, processor = time.perf_counter(), time.process_time() - processor
            annotate(image, result.faces)
            whole = {"label": label - start, "processor": processor, "drawn": time.perf_counter() - start}
            times = {key: 1000 * seconds for key, seconds in whole.items()} | result.milliseconds
            rows[name].append({"faces": len(result.faces), **times})
    for name, found in rows.items():
        table = pd.DataFrame(found[WARM_UP:])
        rates = f"{1000 / table['label'].mean():.1f} frames/s to the label, {1000 / table['drawn'].mean():.1f} drawn"
        print(f"{name}: {table.pop('faces').mean():.1f} faces, {rates}; median ms {table.median().round(1).to_dict()}")


def _crowd(clip: list, number: int) -> np.ndarray:
    """A frame of 3840x2160 with two rows of five faces, each at another moment of the demo clip."""
    image = np.full((2160, 3840, 3), 165, np.uint8)
    for place, (row, column) in enumerate(product(range(2), range(5))):
        frame = clip[(number + place * len(clip) // 10) % len(clip)]
        x, y = (round(14 * turn(number / 10 + place)) for turn in (np.sin, np.cos))
        face = cv2.resize(square(frame.image, frame.box, 0.15), (740, 740))
        image[170 + 1080 * row + y :, 14 + 768 * column + x :][:740, :740] = face
    return image


@main.command()
@click.option("--minutes", type=click.IntRange(2), default=10, show_default=True)
def film(minutes: int) -> None:
    """A film of the demo clip over and over, 640x480 at 25 frames/s: speed, and memory at each of its minutes."""
    with _networks() as networks, tempfile.TemporaryDirectory() as folder:
        path, clip = Path(folder) / "film.mp4", [frame.image for frame in demo_clip(25)]
        with video_writer(path, 25) as write:
            for number in range(1500 * minutes):
                write(clip[number % len(clip)], number / 25)
        del clip
        for name, network in networks.items():
            realtime_prediction(network.model, network.transform, source="demo")  # warm-up
            decoding, memory = [_timed(_decode, path)], _MemoryByMinute()
            table = realtime_prediction(network.model, network.transform, source=path, snapshots=memory)
            decoding.append(_timed(_decode, path))
            seconds, slope = table.attrs["seconds"], np.polyfit(range(len(memory.rss)), memory.rss, 1)[0]
            print(
                f"{name}: {len(table)} rows in {seconds:.0f} s: {60 * minutes / seconds:.1f} times real time, ", end=""
            )
            print(f"{seconds / np.mean(decoding):.1f} times as long as decoding")
            print(f"MiB at each minute: {', '.join(f'{each:.1f}' for each in memory.rss)}; {slope:.2f} a minute")


class _MemoryByMinute(Snapshots):
    """Also notes how much memory, in MiB, the process has at each minute of the film."""

    def __init__(self):
        self.rss = []

    def add(self, image: np.ndarray, faces: list, seconds: float) -> None:
        super().add(image, faces, seconds)
        if seconds >= 60 * len(self.rss):
            self.rss.append(psutil.Process().memory_info().rss / 2**20)


def _decode(path: Path) -> None:
    capture = cv2.VideoCapture(str(path))
    while capture.read()[0]:
        pass


@main.command()
@click.option("--frames", default=1000, show_default=True)
@click.option("--checkpoint", default=str(EMBEDDED), help="Of another network, or exported; default: the embedded one.")
@click.option("--picture", type=click.Path(path_type=Path), help="Also save a framed picture of the widget at work.")
def browser(frames: int, checkpoint: str, picture: Path | None) -> None:
    """Frames a second, times by stage and memory in a browser with a fake camera; needs Chromium and Playwright."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import browser as chrome
    from playwright.sync_api import sync_playwright

    networks = {"network": str(Path(checkpoint).resolve())}
    camera_cell = f"from fer_nb_utils.live.widget import LiveCamera\ncamera = LiveCamera({networks})\ncamera"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, kernel = stack.enter_context(chrome.jupyterlab(folder)), folder / "kernel.json"
        camera = chrome.write_fake_camera(folder / "camera.mjpeg", [chrome.astronaut_frame()[0]])
        launched = chrome.launch(stack.enter_context(sync_playwright()), camera)
        cells = [KERNEL_TIMES, camera_cell, f"json.dump(times, open({str(kernel)!r}, 'w'))"]
        lab = stack.enter_context(chrome.opened(launched, server, cells))
        lab.run(0)
        lab.run(1)
        lab.wait("live?.dataset.state == 'idle'")
        lab.js(PAGE_TIMES)
        lab.start()
        lab.wait("Number(live.dataset.frames) > 50", timeout=120)
        lab.js(KEEP_LATENCIES)
        first, start = lab.data(), time.perf_counter()
        memory, before = [(server.memory(), lab.heap())], _processor_seconds(server.process.pid)
        for part in range(1, 5):
            lab.wait(f"Number(live.dataset.frames) >= {int(first['frames']) + part * frames // 4}", timeout=600)
            memory.append((server.memory(), lab.heap()))
        seconds = time.perf_counter() - start
        used = _processor_seconds(server.process.pid) - before
        latencies = lab.js("return window.latencies")
        lab.stop()
        lab.run(2)
        page = lab.js("return window.times")
        print(_frame_stages(page, json.loads(kernel.read_text("utf-8"))).round(1))
        if picture:
            lab.js(FRAME)
            lab.page.locator(".framed").screenshot(path=picture)
    median, p95 = np.percentile(latencies, [50, 95])
    print(f"{len(latencies) / seconds:.1f} frames/s; camera to overlay: median {median:.0f} ms, p95 {p95:.0f} ms")
    each = (1000 * used / len(latencies)).round(1).to_dict()
    print(f"processor time in ms a frame: {each}, of {1000 * psutil.cpu_count() * seconds / len(latencies):.1f}")
    print("MiB of kernel and page:", ", ".join(f"{kernel >> 20} {page / 2**20:.1f}" for kernel, page in memory))


def _processor_seconds(server: int) -> pd.Series:
    """Of JupyterLab's server, of its kernels, and of the other processes below this one: the browser's."""
    used = {"browser": 0.0, "server": 0.0, "kernel": 0.0}
    for process in psutil.Process().children(recursive=True):
        kind = "server" if process.pid == server else "kernel" if process.ppid() == server else "browser"
        used[kind] += sum(process.cpu_times()[:2])
    return pd.Series(used)


def _frame_stages(page: dict, kernel: dict) -> pd.DataFrame:
    """Milliseconds of each stage of a frame's way, in its order: median and 95th percentile.

    `page` and `kernel`: lists of when the n-th frame got there, in milliseconds since 1970; of "labelled", how long.
    """
    frames = min(map(len, (*page.values(), *kernel.values())))
    at = {name: np.array(each[:frames]) for name, each in (page | kernel).items()}
    labelling = pd.DataFrame(list(at["labelled"]))
    stages = {
        "grab": at["grabbed"] - at["taken"],
        "JPEG, base64": at["encoded"] - at["grabbed"],
        "to the socket": at["sent"] - at["encoded"],
        "way up, waiting for the kernel": at["received"] - at["sent"],
        "base64, JPEG": at["decoded"] - at["received"],
        **{name: labelling[name].to_numpy() for name in labelling},
        "rest of the kernel": at["answered"] - at["decoded"] - labelling.sum(axis=1).to_numpy(),
        "way down": at["arrived"] - at["answered"],
        "to the drawn label": at["drawn"] - at["arrived"],
        "whole": at["drawn"] - at["taken"],
    }
    table = pd.DataFrame(stages).iloc[50:]  # the first are slower
    return table.quantile([0.5, 0.95]).T.set_axis(["median", "p95"], axis=1).rename_axis("stage")


# When each frame reaches these places of the kernel.
KERNEL_TIMES = """
import json, time
from fer_nb_utils.live import realtime, widget
times = {"received": [], "decoded": [], "labelled": [], "answered": []}
now = lambda: 1000 * time.time()
receive, label, run = widget.CameraView._receive, widget.CameraView.label, realtime.Pipeline.__call__
def timed_receive(self, view, content, buffers):
    came = now()
    receive(self, view, content, buffers)
    if content["kind"] == "frame":
        times["received"].append(came)
        times["answered"].append(now())
def timed_label(self, image):
    times["decoded"].append(now())
    return label(self, image)
def timed_run(self, image, seconds):
    result = run(self, image, seconds)
    times["labelled"].append(result.milliseconds)
    return result
widget.CameraView._receive, widget.CameraView.label = timed_receive, timed_label
realtime.Pipeline.__call__ = timed_run
"""

# When each frame reaches these places of the page.
PAGE_TIMES = """
    const times = window.times = { taken: [], grabbed: [], encoded: [], sent: [], arrived: [], drawn: [] };
    const at = (name, when = performance.now()) => times[name].push(performance.timeOrigin + when);
    const context = CanvasRenderingContext2D.prototype, canvas = HTMLCanvasElement.prototype;
    const { drawImage } = context, { toDataURL } = canvas;
    context.drawImage = function (...given) { at("taken"); drawImage.apply(this, given); at("grabbed"); };
    canvas.toDataURL = function (...given) {
        const data = toDataURL.apply(this, given);
        at("encoded");
        return data;
    };
    const socket = panel.sessionContext.session.kernel._ws, send = socket.send.bind(socket);
    const isFrame = (data) => /"kind": ?"frame"/.test(typeof data == "string" ? data : new TextDecoder().decode(data));
    socket.send = (data) => { if (isFrame(data)) at("sent"); send(data); };
    socket.addEventListener("message", (event) => isFrame(event.data) && at("arrived", event.timeStamp));
    const drawn = () => live.dataset.frames != "0" && at("drawn"); // 0 is the start
    new MutationObserver(drawn).observe(live, { attributeFilter: ["data-frames"] });
"""


KEEP_LATENCIES = """
    window.latencies = [];
    const note = () => window.latencies.push(Number(live.dataset.latency));
    new MutationObserver(note).observe(live, { attributeFilter: ["data-frames"] });
"""


# Dark in a light frame, with a title: a picture of the widget, readable on a page of either kind, and not the widget.
FRAME = """
    await jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' });
    const output = live.closest('.jp-OutputArea-output'), framed = output.parentElement;
    framed.classList.add('framed');
    output.style.cssText = 'padding: 12px 16px 16px; background: #1d1f23';
    framed.style.cssText = 'display: block; width: fit-content; border: 3px solid #8a8f98';
    const title = document.createElement('div');
    title.textContent = 'Screenshot: the camera cell at work';
    title.style.cssText = 'padding: 6px 16px; background: #8a8f98; color: #111; font: 600 14px system-ui, sans-serif';
    framed.prepend(title);
    framed.querySelector('.jp-OutputPrompt')?.remove();
    const frames = Number(live.dataset.frames);
    while (Number(live.dataset.frames) < frames + 5) await new Promise((go) => setTimeout(go, 50));
"""


@main.command()
@click.option("--moves", default=60, show_default=True)
@click.option("--threads", default=psutil.cpu_count(), show_default=True, help="Of torch, in the kernel.")
def puppet(moves: int, threads: int) -> None:
    """From a slider's move to the new bars in JupyterLab's page: each unit to its end and back; needs Chromium."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import browser as chrome
    from playwright.sync_api import sync_playwright

    cells = [f"import torch\ntorch.set_num_threads({threads})", PUPPET]
    with ExitStack() as stack:
        server = stack.enter_context(chrome.jupyterlab(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        launched = chrome.launch(stack.enter_context(sync_playwright()))
        lab = stack.enter_context(chrome.opened(launched, server, cells))
        lab.run_all()
        lab.wait(f"document.querySelectorAll('.noUi-handle').length > {len(UNITS)}")
        lab.js(KEEP_WAITS)
        for number in range(WARM_UP + moves):
            handle = lab.page.locator(".noUi-handle").nth(number // 2 % len(UNITS))
            lab.page.wait_for_timeout(100)  # until nothing of the move before is under way
            handle.press("Home" if number % 2 else "End")
            lab.wait(f"waits.length > {number}")
        waits = lab.js("return waits")[WARM_UP:]
    print(f"{len(waits)} moves, to the bars: median {np.median(waits):.0f} ms, p95 {np.percentile(waits, 95):.0f} ms")


PUPPET = """
from fer_nb_utils.networks.load import EMBEDDED
from fer_nb_utils.series.puppet import Puppet
Puppet({"FER-2013": EMBEDDED})
"""
# from a key to the first moment after the frame that shows other bars
KEEP_WAITS = """
    window.waits = [];
    let pressed = 0;
    const page = panel.node, note = () => { waits.push(performance.now() - pressed); pressed = 0; };
    const shown = () => pressed && requestAnimationFrame(() => setTimeout(() => pressed && note()));
    page.addEventListener('keydown', (event) => { pressed = event.timeStamp; }, true);
    const bars = [...page.querySelectorAll('.widget-html-content')].find((each) => each.innerText.includes('surprise'));
    new MutationObserver(shown).observe(bars, { childList: true, subtree: true });
"""


def _train_images(data: str | None, count: int) -> Dataset:
    train, _ = split_validation(load(data))
    return train.subset(np.random.default_rng(0).permutation(len(train))[:count])


def _timed(action: Callable, *arguments: object) -> float:
    start = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
