#!/bin/sh
# Writes the greeting that the recipe hands over.
set -eu

[ "${1-}" = --quiet ] || set -x
printf '%s\n' "$GREETING" > /etc/greeting
chmod 0644 /etc/greeting
