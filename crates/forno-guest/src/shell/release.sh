# Lets go of output that has been told. $3 and $4: up to which offset of each.
free() {
  { printf '%s\n' "$2" 1<>"$dir/$1.acked"; } 2>/dev/null || exit 0
  name=$1 told=$2
  for piece in "$dir/$name".*.*; do
    number=${piece##*/$name.}
    for next in "$dir/$name.$((${number%%.*} + 1))."*; do :; done
    if [ -e "$next" ] && [ "${next##*.}" -le "$told" ]; then rm -f -- "$piece"; fi
  done
}
[ -d "$dir" ] || exit 0
free out "$3"
free err "$4"
