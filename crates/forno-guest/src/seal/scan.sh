# Looks for what must not be in an image. $1: the folder that is the machine's
# root (empty: this one). Texts to look for come on standard input, one a line.
# Says `secret PATH` or `private-key PATH`.
root=$1
export LC_ALL=C
umask 077
base=/dev/shm
if [ ! -d "$base" ] || [ ! -w "$base" ]; then base=/run; fi
texts=$(mktemp "$base/forno.XXXXXXXX") || exit
trap 'rm -f -- "$texts"' EXIT
trap 'exit 143' HUP INT TERM
cat >"$texts"

# Everything on the root's disk but what packages bring: those are public.
files() {
  find "${root:-/}" -xdev \( -path "$root/proc" -o -path "$root/sys" -o -path "$root/dev" -o -path "$root/run" \
    -o -path "$root/boot" -o -path "$root/usr" -o -path "$root/lost+found" \) -prune \
    -o -type f -size -131072 -print0
  if [ -d "$root/usr/local" ]; then find "$root/usr/local" -xdev -type f -size -131072 -print0; fi
}

if [ -s "$texts" ]; then
  files | xargs -0 -r grep -laFs -f "$texts" -- | sed 's/^/secret /'
fi
# The keys in libraries' own test suites are public, too.
files | xargs -0 -r grep -laEs '^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----' -- |
  grep -vE '/(site-packages|dist-packages|node_modules|pkg/mod|gems)/' | sed 's/^/private-key /'
exit 0
