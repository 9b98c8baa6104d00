# Takes up a run. $3 marks what is ours on the streams, $4 and $5 are the
# offsets from which its outputs are wanted, $6 is `claim` when it may not have
# begun: if so, it never will.
nonce=$3
run=
if [ "$6" = claim ]; then
  mkdir -p -m 700 "$parent"
  if mkdir -m 700 "$dir" 2>/dev/null && claim; then gone; fi
  # It may be about to begin, from a connection that broke meanwhile.
  turn=0
  until [ -s "$dir/pid" ] || [ $turn = 100 ]; do
    turn=$((turn + 1))
    if [ $turn = 50 ] && claim; then gone; fi
    sleep 0.1 2>/dev/null || sleep 1
  done
fi
[ -s "$dir/pid" ] || gone
# The follower before this one may hang on a dead connection.
if alive follower; then kill -KILL "-$group" 2>/dev/null; fi
exec 9<>"$dir/bell"
from out 3 "$4"
from err 4 "$5" >&2
follow
