#!/bin/bash
# Checks everything under provision/ without a machine: scripts, playbooks by the
# ansible-core of this machine and by a newer one, style, and the programs that
# run at boot.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'provision: %s\n' "$*"; }

venv=$(tests/venv.sh)
export ANSIBLE_HOME=${ANSIBLE_HOME:-$venv/ansible-home}

say "shellcheck"
shellcheck tests/*.sh base/updates.sh controller/roles/sample_project/files/publish-sample

playbooks=(base/playbook.yml controller/playbook.yml worker/playbook.yml)
for program in $(type -P ansible-playbook || true) "$venv/bin/ansible-playbook"; do
    version=$("$program" --version)
    say "syntax, ${version%%$'\n'*}"
    "$program" --syntax-check --inventory localhost, "${playbooks[@]}" >/dev/null
done

say "ansible-lint"
# In each folder for itself: a role belongs to the playbook beside it.
for playbook in "${playbooks[@]}"; do
    (cd "${playbook%/*}" && PATH="$venv/bin:$PATH" ansible-lint --offline --strict -q --nocolor --profile production playbook.yml)
done

say "the programs that run at boot"
"$venv/bin/python" -m unittest --quiet tests/test_boot_programs.py

say "all well"
