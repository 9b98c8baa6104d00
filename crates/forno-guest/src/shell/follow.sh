# Carries the two outputs of a run to its end. Standard output and error are
# those of the run, byte for byte, between two marks each.

mark() { printf '\001forno:%s:%s\n' "$nonce" "$*"; }

boot() {
  booted=
  { read -r booted <"${FORNO_STUB_BOOT_ID:-/proc/sys/kernel/random/boot_id}"; } 2>/dev/null
}

begins() {
  boot
  mark "at $2 $booted"
}

gone() {
  boot
  mark "gone $booted"
  exit 0
}

# $1 out or err, $2 a free descriptor, $3 where to begin. The output lies in
# pieces, NAME.NUMBER.START, of which the oldest go when they have been told.
from() {
  best= start= first=
  for piece in "$dir/$1".*.*; do
    at=${piece##*.}
    if [ -z "$first" ] || [ "$at" -lt "${first##*.}" ]; then first=$piece; fi
    [ "$at" -le "$3" ] || continue
    if [ -z "$start" ] || [ "$at" -gt "$start" ]; then best=$piece start=$at; fi
  done
  # Nothing is left that is as old as this.
  if [ -z "$best" ]; then best=$first start=${first##*.}; set -- "$1" "$2" "$start"; fi
  number=${best##*/$1.}
  eval "n_$1=${number%%.*}; exec $2<\"\$best\""
  begins "$1" "$3"
  if [ "$3" -gt "$start" ]; then tail -c "+$(($3 - start + 1))" <&"$2" || exit; fi
}

# $1 out or err, $2 its descriptor. The next piece is begun when one is whole.
carry() {
  while :; do
    eval "n=\$n_$1"
    for next in "$dir/$1.$((n + 1))."*; do :; done
    for piece in "$dir/$1.$n."*; do :; done
    [ -e "$next" ] || next=
    # The channel is closed: whoever comes back asks for the rest.
    if [ -s "$piece" ] || [ ! -e "$piece" ]; then cat <&"$2" || exit; fi
    [ -n "$next" ] || return 0
    eval "exec $2<\"\$next\"; n_$1=$((n + 1))"
  done
}

# Sets $code when the run has ended.
ended() {
  code=
  # Half a line is not one.
  { read -r code <"$dir/status"; } 2>/dev/null && return
  code=
  if [ -s "$dir/pid" ]; then alive pid && return; else runs "$run" && return; fi
  { read -r code <"$dir/status"; } 2>/dev/null || code=killed
}

# What the script left running may hold its output open. So long of silence is
# waited for, and so long at most, in turns of the bell.
held=0 silent=0 seen= asked=
linger() {
  { read -r _ <"$dir/code"; } 2>/dev/null || return 0
  [ -z "$asked" ] || return 0
  now=$(ls -ln "$dir")
  if [ "$now" = "$seen" ]; then silent=$((silent + 1)); else silent=0 seen=$now; fi
  held=$((held + 1))
  if [ $silent -ge 15 ] || [ $held -ge 150 ]; then
    asked=1
    alive pid && kill -USR1 "$number" 2>/dev/null
  fi
}

follow() {
  look $$ && echo "$$ $since" >"$dir/follower"
  # The end of a run rings by itself; what it says meanwhile is looked for.
  (
    while kill -0 $$ 2>/dev/null; do
      sleep 0.2 2>/dev/null || sleep 1
      echo >&9
    done
  ) </dev/null >/dev/null 2>&1 3<&- 4<&- &
  ticker=$!
  while :; do
    ended
    carry out 3
    carry err 4 >&2
    [ -z "$code" ] || break
    linger
    read -r _ <&9
  done
  kill "$ticker" 2>/dev/null
  # The end of the machine is not the script's own. A service manager that goes
  # down may be past answering.
  case $code in
  129 | 137 | 143 | killed)
    if [ -d /run/systemd/system ]; then
      case $(systemctl is-system-running 2>/dev/null) in
      initializing | starting | running | degraded | maintenance) ;;
      *) code=stopping ;;
      esac
    fi
    ;;
  esac
  dropped=0
  for name in out err; do
    if { read -r lost <"$dir/$name.dropped"; } 2>/dev/null; then dropped=$((dropped + lost)); fi
  done
  mark "end $code $dropped"
  mark "end" >&2
  # Only what has been collected goes.
  read -r word
  [ "$word" = collected ] || exit 0
  alive pid && kill -KILL "$number" 2>/dev/null
  rm -rf -- "$dir"
  exit 0
}
