"""Where the package, the clone and its notebooks lie."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
TEMPLATES = PACKAGE / "series" / "templates"
