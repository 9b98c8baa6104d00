# $id what runs, $tag marks this answer, $booted the boot that it is meant for.
umask 077

nap() { sleep "$1" 2>/dev/null || sleep 1; }

# In hundredths of a second.
clock() {
  read -r now _ </proc/uptime
  now=${now%.*}${now#*.}
}

boot=
{ read -r boot <"${FORNO_STUB_BOOT_ID:-/proc/sys/kernel/random/boot_id}"; } 2>/dev/null
echo "forno-ssm $tag ${boot:-unknown}"

# $1 how it stands. An answer without its last line has been cut.
over() {
  printf 'state %s\nend %s\n' "$1" "$tag"
  exit 0
}

# In memory: what is never on the disk is never in the image.
base=${FORNO_STUB_MEMORY:-/run}/ssm-forno
[ -d "$base" ] || mkdir -- "$base" 2>/dev/null
if [ ! -w "$base" ]; then
  base=${TMPDIR:-/tmp}/ssm-forno-$(id -u)
  [ -d "$base" ] || mkdir -- "$base" 2>/dev/null
fi
if [ -L "$base" ] || [ ! -O "$base" ] || [ ! -w "$base" ]; then over "refused $base cannot be used"; fi
dir=$base/$id

# $free have been collected. $bury too, but a start that comes late must still
# find their folders.
for old in ${free-}; do rm -rf -- "${base:?}/$old"; done
for old in ${bury-}; do rm -rf -- "${base:?}/$old"/*; done

# The agent keeps every script and what it said, and all of that would be in the
# image. $told have been answered.
case $0 in
*/document/orchestration/*)
  documents=${0%%/orchestration/*}
  for old in ${told-}; do
    rm -rf -- "${documents:?}/orchestration/$old" "$documents/state/completed/$old"*
  done
  ;;
esac

# Of $user, as the machine knows it.
known() { [ -n "${FORNO_STUB-}" ] || id -u -- "$user" >/dev/null 2>&1; }
