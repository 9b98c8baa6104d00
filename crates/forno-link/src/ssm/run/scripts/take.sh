# Takes in parts of the input. A part that came already is not taken again.

consumed() {
  eaten=0
  { read -r eaten <"$dir/in.done"; } 2>/dev/null
}

had() { [ "$1" -lt "$eaten" ] || [ -e "$dir/in/$1" ]; }

# No more than four wait to be read: whether part $1 may come.
room() {
  clock
  until=$((now + 1000))
  while consumed && [ "$1" -ge $((eaten + 4)) ]; do
    clock
    if [ "$now" -ge $until ] || [ -e "$dir/in.closed" ] || [ ! -e "$dir/serve" ]; then return 1; fi
    nap 0.1
  done
}

# The same part may have come by another copy of this script.
arrived() {
  consumed
  had "$2" || mv -f -- "$1" "$dir/in/$2"
}

# $1 number; base64 on standard input.
inline() {
  { base64 -d >"$dir/part.$1.$$" && arrived "$dir/part.$1.$$" "$1"; } || trouble="there is no room in $base"
  rm -f -- "$dir/part.$1.$$"
}

# $1 number, $2 size, $3 checksum, $4 URL.
part() {
  had "$1" && return
  file=$dir/part.$1.$$
  if get "$4" "$file" "$2" "$3"; then
    arrived "$file" "$1"
  else
    mv -f -- "$file.why" "$dir/trouble.$$" 2>/dev/null
  fi
  rm -f -- "$file" "$file.why"
}

# On standard input a line for each part.
parts() {
  jobs=
  consumed
  while read -r number size checksum url; do
    part "$number" "$size" "$checksum" "$url" </dev/null &
    jobs="$jobs $!"
  done
  # shellcheck disable=SC2086
  [ -z "$jobs" ] || wait $jobs
  if [ -e "$dir/trouble.$$" ]; then
    trouble=$(head -n 1 "$dir/trouble.$$")
    rm -f -- "$dir/trouble.$$"
  fi
}

# $last: how many parts there are in all, when that is known.
taken() {
  if [ -z "$trouble" ] && [ -n "$last" ]; then
    echo "$last" >"$dir/in.end.new" && mv -f -- "$dir/in.end.new" "$dir/in.end"
  fi
  { echo 1<>"$dir/bell"; } 2>/dev/null
}

said_input() {
  if [ -n "$trouble" ]; then
    echo "input failed $trouble"
  elif [ -e "$dir/in.closed" ]; then
    echo "input closed"
  else
    echo "input ${1:-taken}"
  fi
}

trouble=
