#!/bin/sh
# Makes an environment in the user's folder from this stick alone, then opens the lesson in JupyterLab.
here=$(CDPATH= cd "$(dirname "$0")" && pwd)
room="${FER_CLASS:-$HOME/fer-class}"
python="$room/environment/bin/python"
fail() {
  echo "$1"
  exit 1
}
if [ ! -e "$room/ready" ]; then
  case "$(uname -sm)" in
    "Linux x86_64" | "Darwin arm64") ;;
    *) fail "No stick fits this laptop ($(uname -sm)): see START HERE. Work with a neighbour, or ask your teacher." ;;
  esac
  echo "Making the environment. This takes a few minutes, once."
  found="${PYTHON:-$(command -v pythonPYTHON-VERSION || echo python3)}"
  "$found" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "PYTHON-VERSION")' &&
    mkdir -p "$room" && "$found" -m venv --clear "$room/environment" ||
    fail "This stick is for Python PYTHON-VERSION. Install it (with venv), then start this again."
  "$python" -m pip install --quiet --no-index --find-links "$here/wheels" fer_nb_utils &&
    cp -R "$here/notebooks" "$here/figures" "$room" ||
    fail "That did not work (does this stick fit the laptop? see START HERE). Show the lines above to your teacher."
  "$python" -m fer_nb_utils doctor || echo "The lesson opens all the same; show the lines above to your teacher."
  echo ready >"$room/ready"
fi
cd "$room/notebooks/classroom" && exec "$python" -m jupyterlab --LabApp.news_url=None transfer_learning.ipynb "$@"
