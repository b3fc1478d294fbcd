#!/bin/sh
# The tests complete command lines in zsh and fish, and check man pages with mandoc. Where they are missing and we may, they are installed.
set -eu
command -v zsh >/dev/null 2>&1 && command -v fish >/dev/null 2>&1 && command -v mandoc >/dev/null 2>&1 && exit 0
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zsh fish mandoc >/dev/null && exit 0
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zsh fish mandoc >/dev/null && exit 0
    fi
fi
echo "The tests need zsh, fish and mandoc on the PATH; install them." >&2
exit 1
