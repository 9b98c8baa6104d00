# Looks for what must not be in an image. $1: the folder that is the machine's
# root (empty: this one); then, for each other volume that comes into the image, the
# device where EC2 has it and its serial number. Texts that give a secret of the bake away come on
# standard input, one a line. Says `find KIND<tab>PATH`, `unsearched WHY<tab>PATH`
# or `more`, and never what it found.
#
# Every file is read once, for plain words (fast); only what holds one of them is
# looked at closely. What packages bring is public: a file with the checksum that
# its package gives is passed over, unless it holds a secret of the bake.
root=$1
shift
largest=134217728
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
umask 077
base=/dev/shm
if [ ! -d "$base" ] || [ ! -w "$base" ]; then base=/run; fi
dir=$(mktemp -d "$base/forno.XXXXXXXX") || exit
leave() {
  while IFS= read -r at; do umount -- "$at" || umount -l -- "$at"; done <"$dir/mounted"
  rm -rf -- "$dir"
}
: >"$dir/mounted"
trap leave EXIT
trap 'exit 143' HUP INT TERM
cat >"$dir/secrets" || exit

# Words that are in every file with a key or token of a known shape.
cat >"$dir/words" <<'WORDS'
PRIVATE KEY-----
PRIVATE KEY BLOCK-----
PuTTY-User-Key-File-
AKIA
ASIA
aws_secret_access_key
AWS_SECRET_ACCESS_KEY
SecretAccessKey
AccountKey=
ghp_
gho_
ghu_
ghs_
ghr_
github_pat_
glpat-
xoxa-
xoxb-
xoxp-
xoxr-
xoxs-
npm_
pypi-AgE
sk_live_
rk_live_
hvs.
hvb.
client-key-data
WORDS
cat "$dir/secrets" >>"$dir/words" || exit

# What the kernel calls the volume that EC2 has at $1 and whose serial number is $2.
node() {
  for link in /dev/disk/by-id/*"$2"; do
    if [ -b "$link" ]; then readlink -f "$link"; return; fi
  done
  if lsblk -dnro PATH,SERIAL 2>/dev/null | sed -n "s/ $2\$//p" | grep .; then return; fi
  for name in "$1" "/dev/xvd${1#/dev/sd}"; do
    if [ -b "$name" ]; then echo "$name"; return; fi
  done
  return 1
}

unsearched() { printf 'unsearched %s\t%s\n' "$1" "$2" >>"$dir/unsearched"; }

# Where the whole file system on a device (its number, its name) is mounted.
mounted() {
  awk -v number="$1" -v name="$2" '{
    for (i = 7; $i != "-" && i < NF; i++);
    if ($4 == "/" && ($3 == number || $(i + 2) == name)) { print $5; exit }
  }' /proc/self/mountinfo
}

# Where the files of a volume are. What is mounted nowhere is mounted to be read.
volume() {
  if ! node=$(node "$1" "$2"); then
    unsearched 'the machine does not show it' "$1"
    return
  fi
  # The volume, then what is within: in a container the kernel's names of it are not there.
  if ! lsblk -nro MAJ:MIN,PATH "$node" >"$dir/within" || [ ! -s "$dir/within" ]; then
    unsearched 'what is on it cannot be listed' "$1"
    return
  fi
  while read -r number path; do
    case $number in "$(lsblk -dnro MAJ:MIN "$node")") path=$node label=$1 ;; *) label=$1${path##*[!0-9]} ;; esac
    at=$(mounted "$number" "$path")
    if [ "$at" ]; then
      # Blanks in it are told as \040.
      printf '%b\n' "$at" >>"$dir/places"
    elif [ "$(blkid -p -o value -s TYPE "$path")" ]; then
      at=$dir/at$label
      mkdir -p "$at"
      if mount -o ro "$path" "$at" 2>"$dir/why"; then
        echo "$at" | tee -a "$dir/mounted" >>"$dir/places"
      elif [ "$(lsblk -nro PATH "$path" 2>/dev/null | wc -l)" -lt 2 ]; then
        unsearched "$(tr '\n\t' '  ' <"$dir/why")" "$label"
      fi
    elif [ "$(wc -l <"$dir/within")" -lt 2 ]; then
      unsearched 'no file system is on it' "$label"
    fi
  done <"$dir/within"
}

: >"$dir/unsearched"
echo "${root:-/}" >"$dir/places"
while [ $# -gt 1 ]; do
  volume "$1" "$2"
  shift 2
done
set --
while IFS= read -r place; do set -- "$@" "$place"; done <"$dir/places"

# Files that hold credentials by their name, whatever those look like.
named() {
  find "$@" -xdev \( -path "$root/proc" -o -path "$root/sys" -o -path "$root/dev" -o -path "$root/run" \) -prune \
    -o -type f \( -size "+${largest}c" -fprint0 "$dir/large" -o -fprint0 "$dir/all" \) \
    \( -name .netrc -o -name _netrc -o -path "$root/etc/apt/auth.conf" -o -path "$root/etc/apt/auth.conf.d/*" \
    -o -name .git-credentials -o -name .npmrc -o -name .pypirc -o -path '*/.docker/config.json' -o -name .dockercfg \
    -o -path '*/containers/auth.json' -o -path '*/.kube/*' -o -path "$root/etc/kubernetes/*" -o -name 'kubeconfig*' \
    -o -path '*/.aws/credentials' -o -path '*/.config/gcloud/*' -o -path '*/.azure/*' \
    -o -path '*/private-keys-v1.d/*.key' \) -print0 2>>"$dir/said"
}

# Of a list of files (each with a NUL) those that hold a pattern; grep's own
# complaints are kept, for the files that could not be read.
holding() { xargs -0 -r grep -laZ "$@" 2>>"$dir/said"; }

# Names with line breaks become one line.
tell() { tr '\n\0' '?\n' | sed "s|^|$1	|" >>"$dir/found"; }

# Of the candidates, those with a token of this shape, standing alone. What AWS
# and others show in their manuals says so.
shape() {
  holding -E -e "(^|[^A-Za-z0-9_])$2([^A-Za-z0-9_]|\$)" <"$dir/candidates" >"$dir/shaped"
  xargs -0 -r sh -c 'for file; do
    grep -aoE -e "$0" -- "$file" 2>/dev/null | grep -avq EXAMPLE && printf "%s\0" "$file"
  done' "$2" <"$dir/shaped" | tell "$1"
}

# Of the files whose name fits one of the patterns, those that hold something.
file() {
  kind=$1 what=$2
  shift 2
  while [ "$1" ]; do
    grep -zE -e "$1" "$dir/named"
    shift
  done | holding -iE -e "$what" | tell "$kind"
}

: >"$dir/found"
: >"$dir/said"
: >"$dir/large"

# A search that does not work must not look like one that finds nothing.
find "$dir" -name words -fprint0 "$dir/all" 2>>"$dir/said"
if [ "$(holding -F -f "$dir/words" <"$dir/all" | tr '\0' '\n')" != "$dir/words" ]; then
  cat "$dir/said" >&2
  echo 'the search needs find, xargs and grep of GNU' >&2
  exit 1
fi

named "$@" >"$dir/named"
holding -F -f "$dir/words" <"$dir/all" >"$dir/candidates"

if [ -s "$dir/secrets" ]; then
  holding -F -f "$dir/secrets" <"$dir/candidates" | tell 'a secret of this bake'
fi

# A key is its first line with base64 after it: text that only speaks of keys has
# none. One line with all of it is how JSON and environment files have keys.
begin='-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----'
holding -E -e "$begin([[:space:]\"']*\$|(\\\\+[nr]|[[:space:]])+[A-Za-z0-9+/])" <"$dir/candidates" >"$dir/keys"
xargs -0 -r sh -c 'for file; do
  { grep -aE -A 8 -e "$0[[:space:]\"'"'"']*\$" -- "$file" | grep -aqE -e "^[^A-Za-z0-9+/]*[A-Za-z0-9+/=]{40,}([^A-Za-z0-9+/=]|\$)" ||
    grep -aqE -e "$0(\\\\+[nr]|[[:space:]])+([A-Za-z-]+: |[A-Za-z0-9+/=]{24,})" -- "$file"; } && printf "%s\0" "$file"
done' "$begin" <"$dir/keys" | tell 'a private key'
holding -E -e '^PuTTY-User-Key-File-[0-9]+:' <"$dir/candidates" | holding -E -e '^Private-Lines:' | tell 'a private key'
file 'a private key' '\(private-key|protected-private-key' '/private-keys-v1\.d/[^/]*\.key$'
# The same in base64, as Kubernetes has it.
holding -E -e 'client-key-data"?[[:space:]]*:[[:space:]]*"?[A-Za-z0-9+/=]{40,}' <"$dir/candidates" | tell 'a key of Kubernetes'

secret='[A-Za-z0-9/+]{40}([^A-Za-z0-9/+=]|$)'
holding -iE -e "(aws_secret_access_key|SecretAccessKey)[\"']?[[:space:]]*[:=>]+[[:space:]]*[\"']?$secret" <"$dir/candidates" |
  xargs -0 -r grep -LaZ -e EXAMPLEKEY -- | tell 'an AWS secret access key'
# The id of a key is no secret; with something like its secret in the same file it is.
pairs=$(holding -E -e '(^|[^A-Za-z0-9_])(AKIA|ASIA)[A-Z2-7]{16}([^A-Za-z0-9_]|$)' <"$dir/candidates" |
  xargs -0 -r sh -c 'for file; do
    grep -aoE -e "(^|[^A-Za-z0-9/+=])[A-Za-z0-9/+]{40}([^A-Za-z0-9/+=]|\$)" -- "$file" | grep -aE "[g-z]" | grep -aE "[A-Z]" |
      grep -avE "EXAMPLEKEY|^.?[0-9a-f]{40}.?\$" | grep -aq "[0-9]" && printf "%s\n" "$file"
  done' sh)
[ -z "$pairs" ] || printf '%s\n' "$pairs" | tr '\n' '\0' | tell 'an AWS access key with its secret'
holding -E -e 'AccountKey=[A-Za-z0-9+/]{86}==' <"$dir/candidates" | tell 'a key of an Azure storage account'

shape 'a GitHub token' '(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})'
shape 'a GitLab token' 'glpat-[A-Za-z0-9_-]{20,}'
shape 'a Slack token' 'xox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{10,}'
shape 'an npm token' 'npm_[A-Za-z0-9]{36}'
shape 'a PyPI token' 'pypi-AgE[A-Za-z0-9_-]{50,}'
shape 'a Stripe key' '[sr]k_live_[A-Za-z0-9]{24,}'
shape 'a Vault token' 'hv[sb]\.[A-Za-z0-9_-]{24,}'

file 'a password for a host' 'password[[:space:]]+[^[:space:]]' '/[._]netrc$' '/etc/apt/auth\.conf(\.d/.*)?$'
file 'credentials of git' '://[^/:@[:space:]]+:[^/@[:space:]]+@' '/\.git-credentials$'
file 'credentials of npm' '(_authToken|_auth|_password)[[:space:]]*=[[:space:]]*"?[^"$[:space:]]' '/\.npmrc$'
file 'credentials of PyPI' '^[[:space:]]*password[[:space:]]*[=:][[:space:]]*[^[:space:]]' '/\.pypirc$'
file 'credentials of a registry' '"(auth|identitytoken|password)"[[:space:]]*:[[:space:]]*"[^"]' \
  '/(\.docker/config|containers/auth)\.json$' '/\.dockercfg$'
file 'a token of Kubernetes' '^[[:space:]-]*"?token"?[[:space:]]*:[[:space:]]*"?[A-Za-z0-9._-]{16,}' \
  '/\.kube/' '/etc/kubernetes/' '/kubeconfig[^/]*$'
file 'credentials of AWS' 'aws_(secret_access_key|session_token)[[:space:]]*=[[:space:]]*[^[:space:]]' '/\.aws/credentials$'
file 'credentials of Google Cloud' '"?(private_key|refresh_token|client_secret)"?[[:space:]]*:' '/\.config/gcloud/'
file 'credentials of Azure' '"(secret|client_secret|refresh_token|accessToken|refreshToken)"[[:space:]]*:' '/\.azure/'

# Whether a file is what its package brought.
packaged() {
  own=${1#"$root"/}
  if [ -d "$root/var/lib/dpkg/info" ]; then
    sum=$(md5sum <"$1" 2>/dev/null) || return
    sum=${sum%% *}
    # Packages still name what lies below /usr without it.
    cat "$root"/var/lib/dpkg/info/*.md5sums 2>/dev/null | grep -qxF -e "$sum  $own" -e "$sum  ${own#usr/}"
  else
    case $own in usr/local/*) false ;; usr/*) ;; *) false ;; esac
  fi
}

# What package managers of languages install is public too, test keys included,
# and this key is made on every machine and trusted by none.
public() {
  case $1 in
  */site-packages/* | */dist-packages/* | */node_modules/* | */pkg/mod/* | */gems/*) true ;;
  "$root/etc/ssl/private/ssl-cert-snakeoil.key") true ;;
  *) packaged "$1" ;;
  esac
}

sort -u "$dir/found" | while IFS='	' read -r kind path; do
  [ "$kind" = 'a secret of this bake' ] || ! public "$path" || continue
  path=${path#"$dir/at"}
  printf 'find %s\t%s\n' "$kind" "${path#"$root"}"
done >"$dir/finds"
head -n 500 "$dir/finds"
[ "$(wc -l <"$dir/finds")" -le 500 ] || echo more

# What is not about one file, such as the end of memory, is about many.
if grep -vE '^(grep|find): .+: .+' "$dir/said" >&2; then exit 1; fi

# Told, because silence would mean that nothing is there.
{
  tr '\n\0' '?\n' <"$dir/large" | sed "s|^|unsearched larger than $((largest / 1048576)) MiB	|"
  sed -nE "s/^(grep|find): '?(.*[^'])'?: (.*)\$/unsearched \3	\2/p" "$dir/said" | grep -v '^unsearched No such file'
  cat "$dir/unsearched"
} | sed "s|	$dir/at|	|; s|	$root/|	/|" | sort -u | head -n 50
exit 0
