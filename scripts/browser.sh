#!/bin/sh
# Have a Chromium for the dashboard's tests, where this machine lets itself be given one; without it they are skipped.
# usage: scripts/browser.sh
set -eu

if [ -n "${MODELYARD_CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v google-chrome >/dev/null; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing chromium (for the dashboard's tests)"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; } >/dev/null 2>&1 &&
        exit 0
fi
echo "There is no Chromium on this machine: the dashboard's tests are skipped (apt install chromium)"
