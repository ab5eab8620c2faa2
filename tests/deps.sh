#!/bin/sh
# usage: deps.sh install|check PACKAGE:pc=MODULE|PACKAGE:cmd=COMMAND|PACKAGE:file=PATH ...
# Names what is missing; `install` installs it with apt-get where that is possible, and says so.
set -eu
how=$1
shift
missing=
for dep in "$@"; do
    package=${dep%%:*} test=${dep#*:}
    case $test in
    pc=*) pkg-config --exists "${test#pc=}" 2>/dev/null || missing="$missing $package" ;;
    file=*) [ -e "${test#file=}" ] || missing="$missing $package" ;;
    cmd=*) command -v "${test#cmd=}" >/dev/null 2>&1 || missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0
# a compiler is taken for granted: make itself comes with build-essential
line="apt-get install -y --no-install-recommends$missing"
if [ "$how" = check ]; then
    echo "kvsim: packages are missing:$missing" >&2
    echo "kvsim: install them with:  sudo $line      (or: make deps)" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "kvsim: packages are missing (Debian's names):$missing; install them with your package manager" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "kvsim: packages are missing; as root run:  apt-get update && $line" >&2
    exit 1
fi
echo "kvsim: installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$sudo apt-get update -qq >/dev/null
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
