#!/bin/sh
# Build the dashboard into src/modelyard/dashboard, with the machine's Node.js, or with the one from PyPI where there is
# none that is new enough.
# usage: scripts/dashboard.sh
set -eu

node_venv=.venv/node

fail() {
    echo "make dashboard: $*" >&2
    exit 1
}

is_new_enough() {
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' >/dev/null 2>&1 &&
        npm --version >/dev/null 2>&1
}

if ! is_new_enough; then
    [ -x "$node_venv/bin/npm" ] || sh scripts/setup.sh requirements-node.lock "$node_venv"
    PATH=$PWD/$node_venv/bin:$PATH
    is_new_enough || fail "Node.js 20.19 or newer is needed, and the one from PyPI does not run here"
fi

cd dashboard
# What is installed already stays where nothing of the lock has changed.
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    echo "Installing what dashboard/package-lock.json pins (the first time takes a minute)"
    npm ci --silent --no-progress || fail "npm could not install what dashboard/package-lock.json pins"
    touch node_modules/.package-lock.json
fi
echo "Building the dashboard"
npm run --silent build -- --logLevel warn || fail "it could not be built"
