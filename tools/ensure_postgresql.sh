#!/bin/sh
# The tests start PostgreSQL servers of their own. Where the programs are missing and we may, they are installed.
set -eu
command -v initdb >/dev/null 2>&1 && exit 0
for program in /usr/lib/postgresql/*/bin/initdb; do
    test -x "$program" && exit 0
done
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null && exit 0
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null && exit 0
    fi
fi
echo "The tests need PostgreSQL's programs (initdb, postgres) on the PATH; install PostgreSQL." >&2
exit 1
