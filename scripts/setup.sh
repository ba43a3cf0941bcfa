#!/bin/sh
# Have a virtual environment in .venv with what the given lock file pins, and this project in it; in VENV, if one is
# given, what the lock pins and nothing else.
# usage: scripts/setup.sh LOCK [VENV]
set -eu

lock=$1
venv=${2:-.venv}

fail() {
    echo "make setup: $*" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

# Debian ships venv and pip apart from Python.
have_venv() {
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1
}

python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 or newer is needed: apt install python3"
if ! have_venv; then
    case $python in python3) package=python3-venv ;; *) package=$(basename "$python")-venv ;; esac
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package (Debian keeps it apart from Python)"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$package"; } >/dev/null ||
            fail "apt-get could not install $package"
    fi
    have_venv || fail "Python's venv module is missing: apt install $package"
fi

# A venv whose Python is gone (a system upgrade) is made anew.
if ! "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
    "$python" -m venv --clear "$venv"
fi

echo "Installing what $lock pins into $venv (the first time takes a minute)"
# Twice quiet: old pips warn about much that is no concern here; errors still show.
pip() {
    "$venv/bin/python" -m pip -qq --disable-pip-version-check --no-input "$@"
}
if [ "$#" -gt 1 ]; then
    # It is for a few programs of its own: what they do not import need not be compiled.
    pip install --no-compile -r "$lock" || fail "pip could not install what $lock pins"
    exit
fi
pip install -r "$lock" || fail "pip could not install what $lock pins"
# The lock holds the build tools too, so nothing that is not pinned gets in.
pip install --no-deps --no-build-isolation --editable . || fail "the project itself could not be installed"
