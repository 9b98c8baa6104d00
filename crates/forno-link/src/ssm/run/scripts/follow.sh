# Waits until there is something to say, and says it. $out and $err are offsets:
# all output before them has been taken and is let go. $wait and $settle are in
# hundredths of a second, $puts has lines with a stream, a number and a URL.
#
# It may be about to be set up, by the same text sent before.
clock
until=$((now + 500))
while [ ! -e "$dir/ready" ]; do
  if [ ! -d "$dir" ] || [ -e "$dir/ending" ] || [ "$now" -ge $until ]; then over gone; fi
  nap 0.1
  clock
done
echo "$tag $$" >"$dir/asked.$$" && mv -f -- "$dir/asked.$$" "$dir/asked"

# $1 stream, $2 its offset.
acknowledge() {
  read -r acked <"$dir/$1.acked"
  [ "$2" -gt "$acked" ] || return 0
  # A hole where it was; where there can be none, it stays until the end.
  if [ $(($2 / 1048576)) -gt $((acked / 1048576)) ] && command -v fallocate >/dev/null; then
    fallocate -p -o 0 -l "$2" "$dir/$1" 2>/dev/null
  fi
  echo "$2" >"$dir/$1.acked.$$" && mv -f -- "$dir/$1.acked.$$" "$dir/$1.acked"
}
acknowledge out "$out"
acknowledge err "$err"

sizes() {
  status=
  { read -r status <"$dir/status"; } 2>/dev/null
  [ ! -e "$dir/broken" ] || status="broken"
  out_size=$(wc -c <"$dir/out") && err_size=$(wc -c <"$dir/err") || over gone
  fresh=$((out_size - out + err_size - err))
}

clock
until=$((now + wait)) settled=
while sizes; do
  [ -z "$status" ] || break
  clock
  [ "$now" -lt $until ] || break
  if [ $fresh -gt 0 ]; then
    # Perhaps there is soon more, or it ends.
    [ -n "$settled" ] || settled=$((now + settle))
    if [ "$now" -ge "$settled" ] || [ $fresh -ge 1048576 ]; then break; fi
    nap 0.05
  elif [ $((until - now)) -gt $((wait - 200)) ]; then
    nap 0.05
  else
    nap 0.3
  fi
done

# $1 stream, $2 offset, $3 how many.
slice() { tail -c "+$(($2 + 1))" -- "$dir/$1" | head -c "$3"; }

# $1 stream, $2 offset, $3 its size, $4 room. As much as fits.
piece() {
  count=$(($3 - $2)) form=plain packed=$dir/piece.$$
  if [ $count -gt "$4" ] && command -v gzip >/dev/null; then
    for most in 131072 49152; do
      [ $most -le $count ] || most=$count
      slice "$1" "$2" $most | gzip -c >"$packed"
      if [ "$(wc -c <"$packed")" -le "$4" ]; then
        form=gzip count=$most
        break
      fi
    done
  fi
  if [ $form = plain ]; then
    [ $count -le "$4" ] || count=$4
    slice "$1" "$2" "$count" >"$packed"
  fi
  used=$(wc -c <"$packed")
  echo "$1 $2 $count $3 $form $(base64 <"$packed" | tr -d '\n')"
  rm -f -- "$packed"
}

# $1 number, $2 URL, $3 stream, $4 offset, $5 how many.
leave() {
  file=$dir/put.$1.$$
  slice "$3" "$4" "$5" >"$file" && digest "$file"
  if move put "$2" "$file"; then
    echo "part $3 $4 $5 $sum $1" >"$dir/left.$1.$$"
  else
    echo "unsent $1 $(head -n 1 "$file.why")" >"$dir/left.$1.$$"
  fi
  rm -f -- "$file" "$file.why"
}

# $1 stream, $2 offset, $3 its size: to the store, several parts at once.
leave_all() {
  at=$2 jobs='' numbers=
  while read -r stream number url; do
    count=$(($3 - at))
    if [ "$stream" != "$1" ] || [ $count -le 0 ]; then continue; fi
    [ $count -le "$part" ] || count=$part
    leave "$number" "$url" "$1" "$at" "$count" </dev/null &
    jobs="$jobs $!" numbers="$numbers $number" at=$((at + count))
  done <<puts
$puts
puts
  # shellcheck disable=SC2086
  [ -z "$jobs" ] || wait $jobs
  for number in $numbers; do
    cat "$dir/left.$number.$$" || echo "unsent $number there is no room in $base"
    rm -f -- "$dir/left.$number.$$"
  done
}

# Of 24,000 characters.
room=16800
case ${puts-} in
*"err "*) leave_all err "$err" "$err_size" ;;
*) piece err "$err" "$err_size" 6000 && room=$((room - used)) ;;
esac
case ${puts-} in
*"out "*) leave_all out "$out" "$out_size" ;;
*) piece out "$out" "$out_size" $room ;;
esac
# All of it must have been taken before an end is one.
echo "sizes $out_size $err_size"
over "${status:-running}"
