"""The command line: `python -m fer_nb_utils`."""

import json
import logging
import os
import sys
from pathlib import Path

try:
    import click
except ModuleNotFoundError as error:  # nothing is installed here
    sys.exit(f"Error: {error}; run python -m pip install -r requirements.txt, in the clone and in this environment.")

from . import __version__
from .errors import UserError

CALIBRATION_IMAGES = 256  # for int8
EXPORTED = {"onnx": ".onnx", "torchscript": ".pt"}
PATH = click.Path(path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
DATA = click.option("--data", help="FER-2013 (zip, folder or CSV), a folder of faces, or 'sample'.")
WEIGHTS = click.option("--weights", help="imagenet, embedded, none, or a file or folder of state dicts.")
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, mps, cuda or cuda:1.")
SECONDS = {"show_default": True, "type": click.FloatRange(0)}


class Group(click.Group):
    """Prints failures that the user can repair, those of files and disks among them, as one line and exits 2; 130 after
    Ctrl-C."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenPipeError:  # nobody reads on: click's business
            raise
        except KeyboardInterrupt:
            click.echo("\nStopped. The same command goes on from here.", err=True)
            sys.exit(130)
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            reason = f"{where}{error.strerror or error}"
            click.echo(f"Error: {reason}; look at this place, its rights and the room on its disk.", err=True)
        sys.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Facial expression recognition on FER-2013 with ResNet18, 34 and 50, as a series of notebooks."""


@main.command()
@click.option("--profile", default="sample", show_default=True, help="sample, laptop or paper, or a .toml file.")
@DATA
@WEIGHTS
@click.option("--device", help="auto, cpu, mps, cuda or cuda:1.")
@click.option("--only", multiple=True, metavar="NN [NN ...]", help="Only the notebooks with these numbers.")
@click.option("--run-dir", type=PATH, help="Where results go (default: runs/<profile>).")
@click.option("-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a notebook parameter.")
@click.argument("numbers", nargs=-1, metavar="")
def run(profile: str, only: tuple, run_dir: Path | None, parameters: tuple, numbers: tuple, **options: str) -> None:
    """Run the notebooks in order and put everything they make into one folder.

    A rerun with the same folder continues where it stopped. The exit status is 1 when a notebook failed.
    """
    if numbers and not only:
        raise UserError(f"What is {numbers[0]!r}? To choose notebooks, write --only {' '.join(numbers)}.")
    from .files import check_writable
    from .paths import ROOT
    from .series import execute
    from .series.parameters import located
    from .series.plan import load_profile, plan

    profile = load_profile(profile)
    chosen = {name: value for name, value in options.items() if value is not None}
    given = located(dict(parameters) | chosen, Path.cwd())
    if "data" not in profile.parameters | given:
        if not (path := os.environ.get("FER2013_PATH")):
            raise UserError(f"The profile {profile.name} needs FER-2013: give --data PATH or set FER2013_PATH.")
        profile.parameters.update(located({"data": path}, Path.cwd()))
    other_data = f"-{Path(given['data']).stem}" if profile.name == "sample" and "data" in given else ""  # kept apart
    run_dir = (run_dir or ROOT / "runs" / (profile.name + other_data)).absolute()
    check_writable(run_dir / "run.json")
    jobs = plan(profile, given, (*only, *numbers), run_dir)
    click.echo(f"{profile.title}\nresults: {run_dir}")
    for name in ("papermill", "asyncio"):  # they would tell what Ctrl-C does to the kernel
        logging.getLogger(name).setLevel(logging.CRITICAL)
    failures = execute.run(profile, jobs, run_dir)
    from .series import report  # now, for it takes seconds to import

    click.echo(f"report:  {report.write(run_dir)}")
    for failure in failures:
        click.echo(f"failed:  {failure}", err=True)
    if failures:
        sys.exit(1)


@main.command()
@click.argument("file")
@click.option("--run-dir", type=PATH, required=True, help="Where the runs and tables go.")
@DATA
@WEIGHTS
@click.option("--scheduler", metavar="ADDRESS", help="A dask scheduler (default: workers on this machine).")
@click.option("--workers", type=click.IntRange(1), help="Trainings at once here (default: one a GPU or core).")
@DEVICE
def sweep(file: str, run_dir: Path, scheduler: str | None, workers: int | None, device: str, **options) -> None:
    """Train every combination of the settings in FILE, a .toml file or one of the shipped: learning_rate, paper.

    Without --data it is the sample. Finished runs are skipped, others go on where they stopped. The exit status is 1
    when a training failed twice.
    """
    from .data.dataset import load
    from .files import locked
    from .series.parameters import located
    from .training import sweep as sweeps
    from .training.workers import cluster

    given = located({name: value for name, value in options.items() if value}, Path.cwd())
    path = Path(file).expanduser() if file.endswith(".toml") else sweeps.SWEEPS / f"{file}.toml"
    trainings, varied = sweeps.read_sweep(path.absolute(), given.get("weights"))
    run_dir, dataset = run_dir.absolute(), load(given.get("data", "sample"))
    busy = f"Another sweep is at work in {run_dir}: wait for it, or choose another folder."
    with locked(run_dir / ".sweep.lock", busy), cluster(scheduler, workers, device) as (client, gpus):
        click.echo(f"{len(trainings)} trainings on {dataset.name}\nresults: {run_dir}")
        click.echo(f"dask:    {client.dashboard_link}")
        errors = sweeps.run_sweep(trainings, varied, dataset, run_dir, client, gpus, device)
    for name, error in errors.items():
        click.echo(f"failed:  {name}: {error}", err=True)
    sys.exit(1 if errors else 0)


@main.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=PATH)
@click.option("--data", help="The data of that run (default: FER2013_PATH, else the sample).")
@click.option("--weights", help="Its file of initial weights, where it had one.")
@DEVICE
def repeat(config: Path, folder: Path, data: str | None, weights: str | None, device: str) -> None:
    """Repeat the training run of CONFIG (a config.json) in FOLDER, and print its accuracies."""
    from .data.dataset import load
    from .training import experiment

    done = experiment.repeat(config, load(data), folder, weights, device)
    for name, measured in done.metrics.items():
        click.echo(f"{name:12} accuracy {measured['accuracy']:.4f}")


@main.command()
@click.argument("folder", type=FOLDER)
def report(folder: Path) -> None:
    """Write index.html and results.json of a run folder, also where papermill or Jupyter ran the notebooks."""
    from .series.report import write

    if not any(any(folder.glob(kind)) for kind in ("run.json", "training/*/config.json", "tables/*.csv")):
        raise UserError(f"{folder} holds no results; give the folder that notebooks had as their run_dir.")
    click.echo(f"report:  {write(folder.absolute())}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(as_json: bool) -> None:
    """Say whether this computer can run the series, and what to do where it can't; then the exit status is 1."""
    from .series.doctor import examine

    results = examine()
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        for each in results:
            remedy = f"\n{'':8}to do: {each['remedy']}" if each["remedy"] else ""
            click.echo(f"{each['state']:7} {each['name']:17} {each['found']}{remedy}")
    sys.exit(any(each["state"] == "failed" for each in results))


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--platform", "platforms", multiple=True, type=click.Choice(["windows", "macos", "linux"]))
@click.option("--python", default="3.12", type=click.Choice(["3.11", "3.12", "3.13"]), help="Of the laptops (3.12).")
@click.option("--pypi-torch", is_flag=True, help="For Linux: PyPI's torch, 3 GB, without pytorch.org.")
def classroom(folder: Path, platforms: tuple[str, ...], python: str, pypi_torch: bool) -> None:
    """Make an offline pack for a USB stick in FOLDER: packages, notebooks, and what to double-click.

    --platform may be given several times (default: all three). Needs uv: python -m pip install uv.
    """
    from .series.classroom import PLATFORMS, make_pack

    click.echo(make_pack(folder, platforms or tuple(PLATFORMS), python, pypi_torch))
    click.echo(f"solutions and guide: {folder.absolute()} for the teacher")


@main.command()
@click.option("--source", default="0", show_default=True, help="Camera number, video, image or folder, or 'demo'.")
@click.option("--table", type=PATH, help="Write a row for every face of every frame (.csv or .parquet).")
@click.option("--video", type=PATH, help="Write the annotated frames, without sound (.mp4 or .avi).")
@click.option("--report", type=PATH, help="Write a page about the session, with faces (.html).")
@click.option("--checkpoint", help="A .safetensors or .onnx file or a run's folder (default: the embedded ResNet18).")
@click.option("--cascade", help="One of OpenCV's face cascades (default: haarcascade_frontalface_default.xml).")
@click.option("--smoothing", default=0.3, **SECONDS, help="Seconds to average over; 0: none.")
@click.option("--display-duration", default=0.5, **SECONDS, help="Least seconds a label stays.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least probability of a label (default: 0.4).")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds of the source.")
@click.option("--window", is_flag=True, help="Show the picture in a window; Escape or Q closes it.")
@DEVICE
def live(table: Path | None, report: Path | None, checkpoint: str | None, device: str, **options: object) -> None:
    """Label the faces in front of a camera, or in a video or pictures, until it ends or Ctrl-C.

    Nothing is recorded unless --table, --report or --video asks for it. A summary says how many faces and how fast.
    """
    import signal

    from .files import check_writable
    from .live.memory import Snapshots
    from .live.outputs import check_table, write_table
    from .live.realtime import realtime_prediction, summary
    from .networks.device import choose_device
    from .networks.load import EMBEDDED, load_network

    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C: what was seen so far is kept; Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    if table:
        check_table(table)
    if report and report.suffix.lower() != ".html":
        raise UserError(f"The report {report} must end in .html.")
    outputs = list(filter(None, (table, report, options["video"])))
    for number, output in enumerate(outputs):
        if not output.absolute().parent.is_dir():
            raise UserError(f"There is no folder {output.absolute().parent} for {output.name}; make it first.")
        check_writable(output, [options["source"], *outputs[:number]])
    network = load_network(checkpoint or EMBEDDED)
    given = {name: value for name, value in options.items() if value is not None}
    given |= {"device": choose_device(device), "snapshots": (snapshots := Snapshots())}
    labelled = realtime_prediction(network.model, network.transform, **given)
    if not labelled.attrs["frames"]:  # former results stay
        table = report = None
    if table:
        write_table(labelled, table)
    if report:
        from .live.session_page import write_page  # now, for matplotlib takes a second to import

        write_page(labelled, snapshots, network.name, report)
    click.echo(summary(labelled))  # last: a terminal that was closed cannot show it
    for written in filter(None, (table, report, labelled.attrs["video"])):
        click.echo(f"written: {Path(written).absolute()}")
    if not labelled.attrs["frames"] or (options["video"] and not labelled.attrs["video"]):  # the summary says why
        sys.exit(1)


@main.command()
@click.argument("checkpoint", required=False)
@click.option("--format", "kind", type=click.Choice(list(EXPORTED)), default="onnx", show_default=True)
@click.option("--output", required=True, type=PATH, help="The file to write.")
@click.option("--int8", is_flag=True, help="ONNX with 8-bit convolutions, their ranges seen on images of --data.")
@click.option("--data", help="Data set for --int8 (default: FER2013_PATH, else the sample).")
def export(checkpoint: str | None, kind: str, output: Path, int8: bool, data: str | None) -> None:
    """Write a network as one file that runs without this package.

    CHECKPOINT: a .safetensors file or a finished run's folder (default: the embedded ResNet18). Grey faces in, uint8
    (n, 48, 48); calibrated probabilities of the seven expressions out.
    """
    import numpy as np

    from .data.dataset import load
    from .files import check_writable
    from .networks import export as exporting
    from .networks.load import EMBEDDED, load_network

    if output.suffix != EXPORTED[kind]:
        raise UserError(f"The exported file {output} must end in {EXPORTED[kind]}.")
    check_writable(output)
    network, faces = load_network(checkpoint or EMBEDDED), None
    if int8:
        images = load(data).select("Training").images
        faces = images[np.random.default_rng(0).permutation(len(images))[:CALIBRATION_IMAGES]]
    exporting.export(network, output, kind, faces)
    click.echo(f"written: {output.absolute()}, {output.stat().st_size / 2**20:.1f} MiB")


@main.group("data")
def data_group() -> None:
    """Look at a data set, or get FER-2013."""


@data_group.command()
@click.argument("path")
def check(path: str) -> None:
    """Print counts, audit, and whether PATH is FER-2013 as published."""
    from .data.audit import data_report
    from .data.dataset import load

    click.echo(data_report(load(path.strip() or "''")))


@data_group.command()
def download() -> None:
    """Fetch FER-2013 from Kaggle (needs a free account there)."""
    name, place = "msambare/fer2013", Path("data", "fer2013.zip")
    try:
        import kagglehub  # here, because only this command needs it

        folder = kagglehub.dataset_download(name)
    except Exception as error:  # no kagglehub, credentials, or network, and what else a remote service brings
        raise UserError(
            f"Kaggle did not give the data set ({type(error).__name__}); by hand: sign in at "
            f"https://www.kaggle.com/datasets/{name}, press Download, save the zip, still packed, as {place}, and add "
            f"--data {place} to the command, or set FER2013_PATH to that path"
        ) from error
    click.echo(f'FER-2013 is in {folder}\nUse it: python -m fer_nb_utils run --profile laptop --data "{folder}"')


if __name__ == "__main__":
    main(prog_name="python -m fer_nb_utils")
