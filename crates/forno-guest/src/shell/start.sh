# Starts a run and carries its output. $3 marks what is ours on the streams, $4
# is the size of the archive that comes on standard input.
nonce=$3
[ -d "$parent" ] || mkdir -m 700 "$parent" 2>/dev/null
if [ -L "$parent" ] || [ ! -O "$parent" ]; then
  echo "forno: $parent belongs to somebody else" >&2
  exit 125
fi
mkdir -m 700 "$dir" || exit
head -c "$4" | tar -x -f - -C "$dir" || { rm -rf -- "$dir"; exit 1; }
claim || { rm -rf -- "$dir"; exit 1; }
n_out=0 n_err=0
exec 3<"$dir/out.0.0" 4<"$dir/err.0.0" 9<>"$dir/bell"
if command -v setsid >/dev/null; then detach=setsid; else detach=; fi
$detach sh "$dir/run" </dev/null >/dev/null 2>&1 3<&- 4<&- 9<&- &
run=$!
begins out 0
begins err 0 >&2
follow
