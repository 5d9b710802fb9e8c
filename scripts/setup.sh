#!/bin/sh
# Install kbexp with the locked versions into a virtual environment: setup.sh VENV STAMP.
# An install that was interrupted is begun anew; one that is there already is brought up to date.
set -eu
venv=$1
stamp=$2
begun=$venv/.installing

fail() {
    echo "$*" >&2
    exit 1
}

suits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

find_python() {
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 && suits "$name"; then
            echo "$name"
            return
        fi
    done
    found=$(python3 --version 2>/dev/null || echo "no python3")
    fail "kbexp needs Python 3.11, 3.12 or 3.13 and found $found: install one, or name it, as in make PYTHON=/path/to/python3.12."
}

python=$(find_python)
command -v gcc >/dev/null 2>&1 && command -v g++ >/dev/null 2>&1 ||
    fail "kbexp builds C and C++ kernels and found no gcc or g++: install them (Debian and Ubuntu: apt install g++)."

if [ -e "$begun" ]; then
    echo "The last install was interrupted: beginning anew." >&2
    rm -rf "$venv"
fi
if [ -x "$venv/bin/python" ] && ! suits "$venv/bin/python"; then
    echo "$venv holds another Python: beginning anew." >&2
    rm -rf "$venv"
fi
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv module is missing: install it (Debian and Ubuntu: apt install python3-venv)."
    rm -rf "$venv"
    "$python" -m venv "$venv"
    touch "$begun"
fi
echo "Installing kbexp into $venv: about 2 minutes and 3 GB the first time, more where the network is slow; pip says nothing meanwhile ..." >&2
touch "$begun"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check \
    -c constraints.txt -e '.[dev]' ||
    fail "The install failed, see above: check the network and the disk, then run make again."
rm -f "$begun"
touch "$stamp"
