# Looks for what must not be in an image. Run as root by /bin/sh, with one
# text to look for per line on standard input. Tells on standard output, a
# line each: `secret PATH`, `private-key PATH`.
#
# /usr is the packages' (but for /usr/local), and their tests hold keys.

umask 077
patterns=$(mktemp -p /dev/shm 2>/dev/null || mktemp) || exit 1
trap 'rm -f "$patterns"' EXIT
cat >"$patterns"

# A stub machine shares its host's files: its own are below its home.
places=""
for place in ${FORNO_STUB:+"$HOME"} /boot /etc /home /opt /root /srv /tmp /usr/local /var; do
    [ -d "$place" ] && places="$places $place"
    [ -z "${FORNO_STUB:-}" ] || break
done
# shellcheck disable=SC2086 # a list of words
find $places -xdev -type f -size +0 ! -path "$patterns" -print0 >"$patterns.files" || :
trap 'rm -f "$patterns" "$patterns.files"' EXIT

if [ -s "$patterns" ]; then
    xargs -0 -r grep -lsaF -f "$patterns" -- <"$patterns.files" | sed 's/^/secret /'
fi
xargs -0 -r grep -lsE -e '^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----' -- <"$patterns.files" |
    sed 's/^/private-key /'
exit 0
