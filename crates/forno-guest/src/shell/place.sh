# $1 whose runs, $2 the run's id. In memory where possible: what is never on the
# disk is never in the image.
base=${FORNO_STUB_MEMORY:-/dev/shm}
if [ ! -d "$base" ] || [ ! -w "$base" ]; then base=${TMPDIR:-/tmp}; fi
parent=$base/forno-$1
dir=$parent/$2

# Says of a process when it was started: numbers of processes are used again.
# Sets $state, $group and $since; fails when there is no such process.
look() {
  { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${stat##*) }
  state=$1 group=$3 since=${20}
}

runs() {
  look "$1" || return 1
  case $state in Z | X) return 1 ;; esac
}

# Whether the process of a file with "number start" still runs.
alive() {
  { read -r number start <"$dir/$1"; } 2>/dev/null && runs "$number" && [ "$since" = "$start" ]
}

# Only one can: the one who starts the run, or the one who says that it shall
# not be started any more.
claim() {
  set -C
  { echo >"$dir/begun"; } 2>/dev/null
  claimed=$?
  set +C
  return $claimed
}
