# Ends what runs, or sees to it that it never will.
if mkdir -- "$dir" 2>/dev/null; then over ended; fi
printf '' >"$dir/ending"
turn=0
until [ -s "$dir/group" ] || [ -e "$dir/status" ] || [ $turn = 50 ]; do
  turn=$((turn + 1))
  nap 0.1
done
group=
{ read -r group <"$dir/group"; } 2>/dev/null
if [ -n "$group" ] && [ ! -e "$dir/status" ]; then
  sh "$dir/terminate" "$group" "$tenths" >/dev/null 2>&1
fi
serve=
{ read -r serve <"$dir/serve.pid"; } 2>/dev/null
[ -z "$serve" ] || kill -KILL "-$serve" 2>/dev/null
rm -rf -- "${dir:?}"/*
if [ "$again" = yes ]; then printf '' >"$dir/ending"; else rm -rf -- "$dir"; fi
over ended
