#!/bin/bash
# Holds each example against its own linter or parser. Needs systemd, shellcheck
# and python3-venv; the rest goes into a virtual environment, kept between runs
# in $FORNO_CHECK_VENV or beside other caches.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf 'nightly: %s\n' "$*"; }

venv=${FORNO_CHECK_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/forno/nightly-check}
if ! cmp --silent requirements.txt "$venv/requirements.txt"; then
    say "installing checkers into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
    cp requirements.txt "$venv/requirements.txt"
fi

# A unit's programs and user must exist for it to be verified: a root of our own has them.
say "systemd: verify"
mkdir -p "$work/root/etc/systemd/system" "$work/root/usr/local/bin" "$work/root/usr/bin" "$work/root/srv/images"
cp systemd/forno-nightly.* "$work/root/etc/systemd/system/"
install -m 755 /bin/true "$work/root/usr/local/bin/forno"
install -m 755 /bin/true "$work/root/usr/bin/git"
for unit in network-online sysinit basic shutdown timers; do
    printf '[Unit]\nDescription=%s\n' "$unit" > "$work/root/etc/systemd/system/$unit.target"
done
# A misspelt key is but a warning to systemd; here nothing may be said at all.
systemd-analyze verify --root="$work/root" --man=no \
    "$work/root/etc/systemd/system/forno-nightly.service" \
    "$work/root/etc/systemd/system/forno-nightly.timer" 2>&1 | tee "$work/verify" >&2
[ ! -s "$work/verify" ]
systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' systemd/forno-nightly.timer)" >/dev/null
# 0 is safest; a service that talks to the network and runs programs cannot reach it.
systemd-analyze security --offline=true --threshold=25 systemd/forno-nightly.service > "$work/security" || {
    cat "$work/security"
    exit 1
}

say "GitHub Actions: schema"
"$venv/bin/check-jsonschema" --quiet --builtin-schema vendor.github-workflows github-actions/.github/workflows/*.yml

say "Kubernetes: schemas"
"$venv/bin/kubernetes-validate" --strict kubernetes/nightly.yaml

say "Jenkins: Groovy"
"$venv/bin/python" - jenkins/Jenkinsfile <<'PYTHON'
import sys

from groovy_parser.parser import parse_groovy_content

with open(sys.argv[1], encoding="utf-8") as file:
    source = file.read()
parse_groovy_content(source)
# The parser must be one that notices: without its last brace it is no program.
try:
    parse_groovy_content(source.rstrip().removesuffix("}"))
except Exception:
    pass
else:
    sys.exit("the Groovy parser takes a file without its last brace")
PYTHON

say "shell inside of them: shellcheck"
"$venv/bin/python" - "$work" <<'PYTHON'
import pathlib
import sys

import yaml

out = pathlib.Path(sys.argv[1])
workflow = yaml.safe_load(pathlib.Path("github-actions/.github/workflows/nightly.yml").read_text())
for job in workflow["jobs"].values():
    for number, step in enumerate(job["steps"]):
        if "run" in step:
            (out / f"workflow-{number}.sh").write_text("#!/bin/bash -e\n" + step["run"])
for document in yaml.safe_load_all(pathlib.Path("kubernetes/nightly.yaml").read_text()):
    if document["kind"] == "CronJob":
        containers = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        (out / "cronjob.sh").write_text("#!/bin/sh\n" + containers[0]["command"][2])
PYTHON
shellcheck "$work"/*.sh check.sh

# What all four promise: nothing to do is no error, and every other code is kept.
say "exit codes: with a forno that ends as told"
mkdir "$work/bin"
cat > "$work/bin/forno" <<'FORNO'
#!/bin/sh
exit "$PRETEND"
FORNO
chmod 755 "$work/bin/forno"
bake=$(grep -l 'forno bake' "$work"/workflow-*.sh)
for script in "bash -e $bake" "sh $work/cronjob.sh"; do
    for pair in 0:0 3:0 30:30 50:50 130:130; do
        code=0
        # shellcheck disable=SC2086 # a program and its argument
        PRETEND=${pair%:*} PATH="$work/bin:$PATH" $script >/dev/null || code=$?
        [ "$code" = "${pair#*:}" ] || { say "$script: forno ended with ${pair%:*}, the job with $code"; exit 1; }
    done
done
grep -qx 'SuccessExitStatus=3' systemd/forno-nightly.service

say "all well"
