"""Make the committed files from what they come from: `python .maintain --help`, in a clone."""

import json
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks" / "classroom")]

from fer_nb_utils.__main__ import FOLDER, PATH, Group, run  # noqa: E402


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """For maintainers: make the committed notebooks, figures, results and weights."""


@main.command()
@click.option("--run-dir", type=PATH, help="Where the run goes (default: a new folder among the temporary ones).")
@click.pass_context
def update(context: click.Context, run_dir: Path | None) -> None:
    """Execute the notebooks on the sample, and write them and figures/. It writes nothing when one of them fails."""
    from maintain import update_notebooks

    if not run_dir:  # nothing left from before, however the package has changed
        run_dir = Path(tempfile.mkdtemp(prefix="fer_nb_update-"))
    context.invoke(run, run_dir=run_dir)
    update_notebooks(run_dir)


@main.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@click.option("--checkpoint", metavar="NAME", help="Also embed the weights of the last folder under this name.")
@click.option("--other-work", is_flag=True, help="The machine had other work: their times will not be compared.")
def publish(folders: tuple[Path, ...], checkpoint: str | None, other_work: bool) -> None:
    """Make the finished runs in FOLDERS the committed reference results."""
    from maintain import publish_runs

    for written in publish_runs(folders, checkpoint, other_work):
        click.echo(written)


@main.command()
@click.argument("folder", type=FOLDER)
def embed(folder: Path) -> None:
    """Make the embedded backbones from FOLDER's resnetNN.pth and the facts in resnetNN.json."""
    import maintain

    from fer_nb_utils.networks.backbones import SHA256, backbone_path

    for name in SHA256:
        facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        digest = maintain.embed(folder / f"{name}.pth", facts, backbone_path(name))
        click.echo(f"{name}: write its hash into backbones.SHA256 and the card: {digest}")


@main.command()
def lesson() -> None:
    """Make the lesson's two copies, its solutions executed, and its figures for the projector."""
    import make_copies

    make_copies.main()
    import draw_figures  # trains: after the copies

    draw_figures.main()


@main.command()
@click.argument("url")
def address(url: str) -> None:
    """Write the project's address, https://github.com/OWNER/NAME, into what names it, and the notebooks' badges."""
    from address import write_address

    write_address(url)


if __name__ == "__main__":
    main(prog_name="python .maintain")
