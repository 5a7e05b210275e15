"""One way to label faces, in a process and, where need be, an environment of its own: see `benchmark.py peers`.

python tests/benchmarks/peers.py WAY FOLDER    with frames.npy (uint8 BGR), faces.npy (uint8 grey) and faces.onnx in it

Each line of its input is answered with a line of JSON: a frame's number with milliseconds, of the clock and of the
processor, and its labels; "memory" with the peak in MiB, less the frames; "faces" with a label for each.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np

Way = tuple[Callable[[np.ndarray, float], list[str]], Callable[[np.ndarray], Iterable[str]] | None]
RATE = 15  # frames a second of the film that the frames are


def ours(network: Path | None) -> Way:
    """This project's pipeline, with the embedded network or an exported one."""
    import torch

    from fer_nb_utils.classes import CLASSES
    from fer_nb_utils.live.realtime import Pipeline
    from fer_nb_utils.networks.load import load_network
    from fer_nb_utils.networks.prediction import predict

    loaded = load_network(network) if network else load_network()
    pipeline = Pipeline(loaded.model, loaded.transform)

    def of_faces(faces: np.ndarray) -> list[str]:
        found = predict(pipeline.model, torch.from_numpy(faces), loaded.transform)
        return [CLASSES[number] for number in found.argmax(1)]

    return lambda frame, seconds: [face.expression for face in pipeline(frame, seconds).faces], of_faces


def fer(small: bool) -> Way:
    """The package fer with its TFLite network, its default, or the Keras one."""
    detector = import_module("fer.fer").FER(use_tflite=small)  # 25.10.3's `from fer import FER` fails

    def labels(found: list[dict]) -> list[str]:
        return [max(face["emotions"], key=face["emotions"].get) for face in found]

    def of_faces(faces: np.ndarray) -> Iterable[str]:
        # one below the other, in boxes to which it adds ten pixels on each side
        for part in np.array_split(faces, -(-len(faces) // 100)):
            boxes = [(10, 48 * place + 10, 28, 28) for place in range(len(part))]
            image = cv2.cvtColor(part.reshape(-1, 48), cv2.COLOR_GRAY2BGR)
            yield from labels(detector.detect_emotions(image, boxes))

    return lambda frame, _: labels(detector.detect_emotions(frame)), of_faces


def facex() -> Way:
    """The package facex with the network in its wheel."""
    manager = import_module("facex").PoolManager  # of the other environment, as fer: not among this project's
    classifier, names = manager(1).pool[0], {"anger": "angry", "sadness": "sad", "surprised": "surprise"}

    def label(scores: dict[str, float]) -> str:
        best = max(scores, key=scores.get)
        return names.get(best, best)

    def of_faces(faces: np.ndarray) -> Iterable[str]:
        return (label(classifier.detect_emotion(face)) for face in faces)

    return lambda frame, _: [label(face["emot"]) for face in classifier.predict(frame)], of_faces


def opencv() -> Way:
    """Faces as in OpenCV's samples/python/facedetect.py, without eyes; its wheels hold no network for expressions."""
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt.xml")

    def of_frame(frame: np.ndarray, _: float) -> list[str]:
        grey = cv2.equalizeHist(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
        return ["face" for _ in cascade.detectMultiScale(grey, 1.3, 4, cv2.CASCADE_SCALE_IMAGE, (30, 30))]

    return of_frame, None


def main(way: str, folder: Path) -> None:
    """Answer until the input ends."""
    of_frame, of_faces = {
        "ours": lambda: ours(None),
        "ours, ONNX": lambda: ours(folder / "faces.onnx"),
        "fer": lambda: fer(True),
        "fer, Keras": lambda: fer(False),
        "facex": facex,
        "OpenCV": opencv,
    }[way]()
    frames, answers, sys.stdout = np.load(folder / "frames.npy"), sys.stdout, sys.stderr  # peers print
    for line in sys.stdin:
        if (asked := line.strip()) == "memory":  # not resource's, which begins with that of the process that began this
            peak = int(Path("/proc/self/status").read_text("utf-8").split("VmHWM:")[1].split()[0])
            answer = (1024 * peak - frames.nbytes) >> 20
        elif asked == "faces":
            answer = list(of_faces(np.load(folder / "faces.npy"))) if of_faces else None
        else:
            start = time.perf_counter(), time.process_time()
            labels = of_frame(frames[int(asked)], int(asked) / RATE)
            answer = 1000 * (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1]), labels
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
