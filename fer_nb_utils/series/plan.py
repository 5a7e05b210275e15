"""What is to run: a profile and the command line's values, checked, make jobs for the notebooks."""

import hashlib
import json
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from ..data.dataset import load
from ..data.formats import signature
from ..errors import UserError
from ..networks.device import choose_device
from ..paths import NOTEBOOKS, PACKAGE
from ..training.config import TrainConfig
from .parameters import PATHS, checked, convert, literals, located, refuse_unknown

PROFILES = Path(__file__).parent / "profiles"
# the keys of a profile and of each of its notebooks, with their defaults; times in seconds
PROFILE = {"title": "", "cell_timeout": 14_400, "parameters": {}, "notebooks": {}}
NOTEBOOK = {"budget": 600, "parameters": {}}


@dataclass(frozen=True)
class Profile:
    """Common parameters, and for each notebook its own parameters and the seconds it may take."""

    name: str
    title: str
    cell_timeout: int
    parameters: dict[str, object]
    notebooks: dict[str, dict]


@dataclass(frozen=True)
class Job:
    """One notebook with the parameters it is to run with."""

    name: str
    notebook: NotebookNode
    defaults: dict[str, object]
    parameters: dict[str, object]  # all of them, defaults included
    budget: int  # seconds
    inputs: tuple[str, ...]  # fingerprints of the package, and of the data and files that parameters name

    @property
    def fingerprint(self) -> str:
        """Changes with the code, the parameters and the inputs of the notebook."""
        sources = [cell.source for cell in self.notebook.cells if cell.cell_type == "code"]
        return hashlib.sha256(json.dumps([sources, self.parameters, self.inputs]).encode()).hexdigest()


def load_profile(name: str) -> Profile:
    """Read `profiles/<name>.toml`, or a TOML file of the user's own, whose relative paths count from its folder.

    Raises UserError when there is none, or when it holds anything but a profile's tables and keys.
    """
    path = Path(name).expanduser().absolute() if name.endswith(".toml") else PROFILES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.toml")))
        raise UserError(f"There is no profile {name!r}; choose one of {known}, or give a .toml file.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of UTF-8 or of TOML
        raise UserError(f"The profile {path} is no TOML file in UTF-8 ({error}); correct it.") from error
    content = _completed(content, PROFILE | {"title": path.stem}, f"The profile {path}")
    for name, table in content["notebooks"].items():
        content["notebooks"][name] = _completed(table, NOTEBOOK, f"The profile {path}: notebooks.{name}")
    for table in (content, *content["notebooks"].values()):
        table["parameters"] = located(table["parameters"], path.parent)
    return Profile(path.stem, **content)


def _completed(given: object, defaults: dict[str, object], where: str) -> dict[str, object]:
    """A table of a profile with all its keys. Raises UserError for other keys, other types, and times not above 0."""
    checked(where, given, defaults)
    refuse_unknown(set(given), set(defaults), where, "key")
    for key, value in given.items():
        if type(value) is int and value <= 0:
            raise UserError(f"{where}: {key} is {value}; make it a number of whole seconds above zero.")
    return defaults | {key: checked(f"{where}: {key}", value, defaults[key]) for key, value in given.items()}


def plan(
    profile: Profile, given: dict[str, str], only: tuple[str, ...], run_dir: Path, folder: Path = NOTEBOOKS
) -> list[Job]:
    """The notebooks to run with all their parameters. Whatever would fail for a bad parameter raises UserError here:
    unknown names, settings that no training can have, a device that is not there, data that cannot be read.

    `given` are the command line's values, as text; `only` are the numbers of notebooks (`02`), none for all.
    """
    notebooks = {path.stem: jupytext.read(path, fmt="py:percent") for path in sorted(folder.glob("[0-9][0-9]_*.py"))}
    if not notebooks:
        raise UserError(f"There are no notebooks in {folder}; run this from a clone of the repository.")
    defaults = {name: _defaults(name, notebook) for name, notebook in notebooks.items()}
    numbers = {name[:2] for name in notebooks}
    wanted = {number.zfill(2) for number in only} or numbers
    refuse_unknown(wanted, numbers, "The series", "notebook")
    chosen = [name for name in notebooks if name[:2] in wanted]
    refuse_unknown(set(profile.notebooks), set(notebooks), f"Profile {profile.name}: the series", "notebook")
    refuse_unknown(set(profile.parameters), set().union(*defaults.values()), f"Profile {profile.name}: the series")
    refuse_unknown(set(given), set().union(*(defaults[name] for name in chosen)), ", ".join(chosen))
    parameters = {name: _parameters(name, profile, given, defaults[name], run_dir) for name in chosen}

    files = (path for path in sorted(PACKAGE.rglob("*")) if path.is_file() and path.suffix != ".pyc")
    content = b"".join(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes() for path in files)
    package = hashlib.sha256(content).hexdigest()
    fingerprint = cache(_fingerprint)
    jobs = []
    for name, values in parameters.items():
        inputs = (package, *(fingerprint(key, values[key]) for key in PATHS if key in values))
        budget = profile.notebooks.get(name, NOTEBOOK)["budget"]
        jobs.append(Job(name, notebooks[name], defaults[name], values, budget, inputs))
    return jobs


def _parameters(name: str, profile: Profile, given: dict[str, str], defaults: dict, run_dir: Path) -> dict:
    """All parameters of a notebook, checked: its defaults, below the profile's, its own there, the command line's."""
    own = profile.notebooks.get(name, NOTEBOOK)["parameters"]
    refuse_unknown(set(own), set(defaults), f"Profile {profile.name}: {name}")
    common = profile.parameters | own
    values = {key: checked(key, value, defaults[key]) for key, value in common.items() if key in defaults}
    values |= {key: convert(key, text, defaults[key]) for key, text in given.items() if key in defaults}
    if "run_dir" in values:
        raise UserError("All notebooks share one run folder: give it as --run-dir, not as the parameter run_dir.")
    values = defaults | values | ({"run_dir": str(run_dir)} if "run_dir" in defaults else {})
    try:
        TrainConfig(**{field.name: values[field.name] for field in fields(TrainConfig) if field.name in values})
        choose_device(values.get("device", "cpu"))
    except UserError as error:
        raise UserError(f"{name} cannot run: {error}") from error
    return values


def _fingerprint(name: str, value: str) -> str:
    """Of the content of a data set; of names, sizes and times of other files; a word (none, demo) is its own."""
    if name == "data":
        return load(value).fingerprint  # decoded now and kept, where the notebooks find it
    return signature(Path(value)) if Path(value).is_absolute() else value


def _defaults(name: str, notebook: NotebookNode) -> dict[str, object]:
    cells = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    try:
        return literals("\n".join(cells))
    except (ValueError, SyntaxError) as error:
        raise UserError(f"The notebook {name} cannot run: {error}.") from error
