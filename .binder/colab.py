"""What the notebooks' first code cell runs on Colab: installs what is missing there, and makes the clone importable.

Packages that Colab has are kept where their versions are in the project's ranges, its torch for a GPU among them.
"""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLABS = ("ipython", "ipykernel", "ipywidgets", "jupyterlab")  # its own, older ones: without them its pages break

needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
needed = [each for each in needed if re.match(r"[\w-]+", each)[0] not in COLABS]
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *needed], check=True)
sys.path += [str(ROOT), str(ROOT / "notebooks" / "classroom")]
importlib.invalidate_caches()

if "google.colab" in sys.modules:
    from google.colab import output

    output.enable_custom_widget_manager()  # the puppet and the camera are widgets of this project
