"""The site: Sphinx and MyST-NB over the committed notebooks and pages, which are read where they lie."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fer_nb_utils import __version__  # noqa: E402

project = "Facial expressions with ResNet18, 34 and 50"
author = copyright = "the fer_nb_utils authors"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    ".site/*.md",
    "notebooks/*.ipynb",
    "notebooks/classroom/*.ipynb",
    "notebooks/classroom/*.md",
    "fer_nb_utils/data/*.md",
    "fer_nb_utils/networks/checkpoints/*.md",
    "figures/reproducibility.md",
]
nb_execution_mode = "off"  # the notebooks are committed executed
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["**/.*.ipynb"]  # being written
suppress_warnings = ["myst.header", "mystnb.mime_priority"]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True  # as written, no paths of this machine
html_theme = "sphinx_book_theme"
html_title = project
html_extra_path = ["index.html"]
html_static_path = html_css_files = ["site.css"]
# no bar on top: its one search box stands at the side too
html_theme_options = {"show_navbar_depth": 1, "home_page_in_toc": True, "navbar_persistent": []}
# a project address, [project.urls] Repository in pyproject.toml, gives notebooks' pages buttons for Binder and Colab
urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
if "Repository" in urls:
    html_theme_options |= {
        "repository_url": urls["Repository"],
        "repository_branch": "main",
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
    }

CONTENTS = """

```{toctree}
:hidden:
:caption: The notebooks
:glob:
notebooks/0*
```

```{toctree}
:hidden:
:caption: In class
notebooks/classroom/transfer_learning
notebooks/classroom/for_teachers
The lesson's solutions <notebooks/classroom/transfer_learning_solutions>
```

```{toctree}
:hidden:
:caption: Results and reference
:glob:
.site/results
figures/reproducibility
fer_nb_utils/networks/checkpoints/*
fer_nb_utils/data/datasheets
.site/api
CONTRIBUTING
CHANGELOG
```
"""


LINKS = {  # tables that the site shows on one page, and folders, which it cannot show
    "(figures/claims.md)": "(.site/results.md)",
    "(figures/table2.md)": "(.site/results.md)",
    "(figures/table1.md)": "(.site/results.md)",
    "(figures/table1_test_sets.md)": "(.site/results.md)",
    "[fer_nb_utils/series/profiles](fer_nb_utils/series/profiles)": "`fer_nb_utils/series/profiles`",
    "[files](fer_nb_utils/training/sweeps)": "`fer_nb_utils/training/sweeps`",
}


def add_contents(_: object, name: str, source: list[str]) -> None:
    """The README is the front page; its table of contents belongs to the site alone."""
    if name == root_doc:
        for link, target in LINKS.items():
            source[0] = source[0].replace(link, target)
        source[0] += CONTENTS


def setup(app: object) -> None:
    app.connect("source-read", add_contents)
