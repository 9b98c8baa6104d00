#!/bin/bash
# Makes the virtual environment with what requirements.txt pins, where it is not
# there yet, and prints its folder: $FORNO_PROVISION_VENV, or beside other caches.
set -euo pipefail
cd "$(dirname "$0")"

venv=${FORNO_PROVISION_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/forno/provision-check}
mkdir -p "${venv%/*}"
# Two at once would make it twice, one into the other.
exec 9>"$venv.lock"
flock 9
if ! cmp --silent requirements.txt "$venv/requirements.txt"; then
    echo "provision: installing what requirements.txt names into $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt >&2
    cp requirements.txt "$venv/requirements.txt"
fi
echo "$venv"
