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
  echo "Making the environment. This takes a few minutes, once."
  mkdir -p "$room" && "${PYTHON:-python3}" -m venv "$room/environment" || fail "Install Python 3.12 (with venv), then start this again."
  "$python" -m pip install --quiet --no-index --find-links "$here/wheels" fer_nb_utils &&
    cp -R "$here/notebooks" "$here/figures" "$room" &&
    "$python" -m fer_nb_utils doctor || fail "That did not work. Show the lines above to your teacher."
  echo ready >"$room/ready"
fi
cd "$room/notebooks/classroom" && exec "$python" -m jupyterlab transfer_learning.ipynb "$@"
