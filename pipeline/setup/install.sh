#!/bin/sh
# Makes the virtual environment: locked packages, a torch that imports, and every model file that can be had.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
    echo "The packages of requirements.lock are for Python 3.11 to 3.13; $PYTHON is $("$PYTHON" --version 2>&1)." >&2
    echo "Install one of these with its venv module (apt-get install python3.11 python3.11-venv)" >&2
    echo "and run: make PYTHON=python3.11 ..." >&2
    exit 1
}
if [ ! -x "$VENV/bin/pip" ]; then
    "$PYTHON" -m venv "$VENV" || {
        PACKAGE=python$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
        echo "The venv module is incomplete; trying apt-get install $PACKAGE" >&2
        rm -rf "$VENV"
        SUDO=; [ "$(id -u)" = 0 ] || SUDO="sudo -n"
        $SUDO apt-get update -qq && $SUDO apt-get install -y -qq "$PACKAGE"
        "$PYTHON" -m venv "$VENV"
    }
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1
# --no-deps: the lock is complete, and three packages would each bring an OpenCV of their own.
"$VENV/bin/python" -m pip install --quiet --no-deps -r requirements.lock
"$VENV/bin/python" pipeline/setup/repair_torch.py
"$VENV/bin/python" -m pipeline.weights
