# Runs the script of the folder that it lies in, whoever listens or does not,
# and stays until its end has been collected.
dir=${0%/*}
exec 9<>"$dir/bell"
IFS= read -r stat <"/proc/$$/stat"
set -- ${stat##*) }
echo "$$ ${20}" >"$dir/pid"
stop= cut=
trap 'stop=1' TERM INT HUP
trap 'cut=1; kill -USR1 "$out" "$err" 2>/dev/null' USR1

# Into a file that has its room already: memory may be full.
note() { printf '%s\n' "$2" 1<>"$dir/$1"; }

# From descriptor 4 into pieces. What has not been told is kept up to 32 MiB,
# then the script waits, as for any pipe that is full.
pump() {
  trap '' TERM INT HUP
  trap 'kill -KILL "$dd" 2>/dev/null; exit' USR1
  n=0 start=0 total=0 acked=0
  while :; do
    LC_ALL=C dd bs=16k count=256 <&4 2>"$dir/$1.dd" >>"$dir/$1.$n.$start" &
    dd=$!
    wait "$dd" || break
    whole= bytes=
    while read -r count what which _; do
      case $what-$which in
      records-in) whole=${count%+*} part=${count#*+} ;;
      byte-* | bytes-*) bytes=$count ;;
      esac
    done <"$dir/$1.dd"
    [ -n "$whole" ] && [ -n "$bytes" ] || break
    total=$((total + bytes))
    [ $((whole + part)) = 256 ] || return
    if [ $((total - start)) -ge 2097152 ]; then
      n=$((n + 1)) start=$total
      : >"$dir/$1.$n.$start"
    fi
    while [ $((total - acked)) -gt 33554432 ]; do
      read -r acked <"$dir/$1.acked"
      [ $((total - acked)) -le 33554432 ] || sleep 0.05 2>/dev/null || sleep 1
    done
  done
  # No room: the script goes on, and what is not kept is counted.
  wc -c <&4 1<>"$dir/$1.dropped" &
  dd=$!
  wait "$dd"
}

pump out 4<"$dir/out.pipe" 9<&- &
out=$!
pump err 4<"$dir/err.pipe" 9<&- &
err=$!
(
  cd || exit
  . "$dir/start"
) </dev/null >"$dir/out.pipe" 2>"$dir/err.pipe" 9<&-
code=$?
note code "$code"
wait "$out"
wait "$err"
[ -z "$stop$cut" ] || wait
note status "$code"
echo >&9
# Until its folder is removed: the service manager may take away what a user has
# in memory when nothing of his runs any more.
[ -n "$stop" ] || read -r _ <>"$dir/hold"
