# Ends a run and removes it. $3 is the script that ends a process group, $4 is
# `claim` when it may not have begun: if so, it never will.
if [ "$4" = claim ]; then
  mkdir -p -m 700 "$parent"
  if mkdir -m 700 "$dir" 2>/dev/null && claim; then exit 0; fi
fi
[ -d "$dir" ] || exit 0
turn=0
until [ -s "$dir/pid" ] || [ $turn = 50 ]; do
  turn=$((turn + 1))
  sleep 0.1 2>/dev/null || sleep 1
done
# A leader that is dead may have left others of its session.
if { read -r number start <"$dir/pid"; } 2>/dev/null && { ! look "$number" || [ "$since" = "$start" ]; }; then
  if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then
    sudo -n -- sh -c "$3" forno "$number" 50
  else
    sh -c "$3" forno "$number" 50
  fi
fi
# What it said at last is still carried.
{ echo 1<>"$dir/bell"; } 2>/dev/null
turn=0
while [ -d "$dir" ] && alive follower && [ $turn -lt 20 ]; do
  turn=$((turn + 1))
  sleep 0.1 2>/dev/null || sleep 1
done
rm -rf -- "$dir"
