#!/bin/sh
# Everything that Debian has newer than the source image, security first of all.
# Runs once per bake: machines are replaced, not patched, so what updates by
# itself goes.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update --quiet
apt-get full-upgrade --quiet --yes --no-install-recommends \
    --option Dpkg::Options::=--force-confdef \
    --option Dpkg::Options::=--force-confold
apt-get purge --quiet --yes unattended-upgrades
apt-get autoremove --quiet --yes --purge
apt-get clean
