#!/bin/sh
# The tests talk to DCMTK's tools. Where they are missing and we may, they are installed.
set -eu
command -v storescu >/dev/null 2>&1 && command -v dcmqrscp >/dev/null 2>&1 && exit 0
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq dcmtk >/dev/null && exit 0
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq dcmtk >/dev/null && exit 0
    fi
fi
echo "The tests need DCMTK's command-line tools (storescu, findscu, dcmqrscp, ...) on the PATH; install DCMTK." >&2
exit 1
