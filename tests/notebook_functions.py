"""Functions that a notebook defines, to be tested like any others."""

import ast

from fer_nb_utils.paths import ROOT


def functions_of(notebook: str, **needed) -> dict:
    """The names that the functions of notebooks/`notebook`.py have there, with the `needed` ones of its imports."""
    tree = ast.parse((ROOT / "notebooks" / f"{notebook}.py").read_text(encoding="utf-8"))
    functions = [part for part in tree.body if isinstance(part, ast.FunctionDef)]
    exec(compile(ast.Module(functions, []), notebook, "exec"), needed)
    return needed
