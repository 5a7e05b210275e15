"""The plain literals of a notebook's parameters cell, and values given for them."""

import ast
from pathlib import Path

from ..errors import UserError

FIRST_LINE = "# parameters of this notebook"
PATHS = ("data", "weights", "source")  # parameters that may be paths
WORDS = ("sample", "imagenet", "embedded", "none", "demo")  # their values that are none


def literals(source: str) -> dict[str, object]:
    """Names and values assigned in the source of a parameters cell; raises ValueError for all that is no literal."""
    found = {}
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            raise ValueError(f"line {node.lineno} of the parameters cell is not NAME = LITERAL")
        found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def convert(name: str, text: str, default: object) -> object:
    """The text of a command line as a value of the default's type. Raises UserError where it does not fit."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text.title() if isinstance(default, bool) else text)  # true, TRUE
    except (ValueError, SyntaxError):
        value = text
    return checked(name, value, default)


def checked(name: str, value: object, default: object) -> object:
    """`value`, if its type fits the default's (an int fits a float). Raises UserError otherwise."""
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise UserError(f"{name} is {value!r}; give a value of type {type(default).__name__}, like {default!r}.")
    return value


def refuse_unknown(given: set[str], known: set[str], where: str, what: str = "parameter") -> None:
    """Raise UserError when a given name is none of the known ones; papermill alone would only warn."""
    if unknown := ", ".join(sorted(given - known)):
        raise UserError(f"{where} has no {what} {unknown}; its {what}s are {', '.join(sorted(known))}.")


def located(parameters: dict[str, object], folder: Path) -> dict[str, object]:
    """`parameters` with paths made absolute: they count from `folder`. Raises UserError when nothing is there."""
    found = dict(parameters)
    for name, value in parameters.items():
        if name in PATHS and isinstance(value, str) and value not in WORDS and not value.isdecimal():
            path = (folder / Path(value).expanduser()).absolute()
            if not value or not path.exists():
                missing = f"{path} does not exist" if value else f"The parameter {name} is empty"
                raise UserError(f"{missing}; give the path of a file or folder that does exist.")
            found[name] = str(path)
    return found
