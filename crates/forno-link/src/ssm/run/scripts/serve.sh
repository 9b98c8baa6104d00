# Runs one command to its end, in a session of its own, whoever asks about it or
# does not. $1 its folder, $2 the user, $3 whether as root, $4 whether it has an
# input, $5 seconds until it counts as forgotten, $6 how much output is kept.
dir=$1 user=$2 root=$3 input=$4 patience=$5 most=$6
echo "$$" >"$dir/serve.pid"
terminate=$(cat "$dir/terminate")

nap() { sleep "$1" 2>/dev/null || sleep 1; }

# From descriptor 4 to a file. What has not been taken is kept up to $most bytes;
# then the command waits, as for any pipe that is full.
pump() {
  dd=
  trap 'kill -KILL "$dd" 2>/dev/null; exit' TERM
  size=0
  while :; do
    dd bs=16k count=256 <&4 >>"$dir/$1" 2>/dev/null &
    dd=$!
    wait "$dd" || {
      # No room. The command must not wait for ever.
      printf '' >"$dir/broken"
      break
    }
    before=$size
    size=$(wc -c <"$dir/$1") && [ "$size" -gt "$before" ] || break
    while read -r acked <"$dir/$1.acked" && [ $((size - acked)) -gt "$most" ]; do
      printf '' >"$dir/$1.held"
      nap 0.1
    done
    [ ! -e "$dir/$1.held" ] || rm -f -- "$dir/$1.held"
  done
  printf '' >"$dir/$1.over"
}

# The parts of the input, as they arrive, to descriptor 5.
feed() {
  part=0
  while :; do
    if [ -e "$dir/in/$part" ]; then
      cat -- "$dir/in/$part" >&5 || break
      rm -f -- "$dir/in/$part"
      part=$((part + 1))
      echo $part >"$dir/in.next" && mv -f -- "$dir/in.next" "$dir/in.done" || break
    elif { read -r last <"$dir/in.end"; } 2>/dev/null && [ $part -ge "$last" ]; then
      break
    else
      read -r _ <&9 || break
    fi
  done
  printf '' >"$dir/in.closed"
}

# The inner setsid has to fork, as the outer one made it a leader. It waits, and
# says so when the end was a signal, which no shell does.
lead() {
  exec setsid sh -c 'exec setsid -w "$@" 2>"$0"' "$dir/how" \
    sh -c 'echo $$ >"$0" || exit; exec 2>&8 8>&-; exec "$@"' "$dir/group" "$@"
}

# Root is asked for where the agent is not root, as only a stub's is.
beyond() { [ "$root" != root ] || [ "$(id -u)" = 0 ] || lead sudo -n -- sh -c "$command"; }

# As a login would have it.
launch() {
  command=$(cat "$dir/command")
  umask 022
  if [ -n "${FORNO_STUB-}" ]; then
    cd || exit
    beyond
    lead sh -c "$command"
  fi
  entry=$(getent passwd "$user" || grep "^$user:" /etc/passwd)
  IFS=: read -r name _ uid gid _ home shell <<entry
$entry
entry
  cd -- "$home" 2>/dev/null || cd /
  beyond
  path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  if [ "$root" = root ] && [ "$uid" != 0 ]; then
    # As sudo would; it stays in the folder where it is.
    set -- "HOME=/root" "USER=root" "LOGNAME=root" "SHELL=/bin/sh" "SUDO_USER=$name" "SUDO_UID=$uid" "SUDO_GID=$gid"
  else
    [ "$uid" = 0 ] || path=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
    set -- "HOME=$home" "USER=$name" "LOGNAME=$name" "SHELL=${shell:-/bin/sh}"
  fi
  set -- "$@" "PATH=$path"
  for file in /etc/environment /etc/default/locale; do
    [ -r "$file" ] || continue
    while IFS= read -r line || [ -n "$line" ]; do
      line=${line#export }
      name=${line%%=*} value=${line#*=}
      case $line in [A-Za-z_]*=*) ;; *) continue ;; esac
      case $name in *[!A-Za-z0-9_]*) continue ;; esac
      if [ "$name" = PATH ] && [ "$root" = root ]; then continue; fi
      case $value in \"*\" | \'*\') value=${value#?} value=${value%?} ;; esac
      set -- "$@" "$name=$value"
    done <"$file"
  done
  if [ "$root" = root ] || [ "$uid" = "$(id -u)" ]; then
    lead env -i "$@" sh -c "$command"
  fi
  groups=$(id -G "$user" | tr ' ' ,)
  if command -v setpriv >/dev/null; then
    lead setpriv --reuid "$uid" --regid "$gid" --groups "$groups" env -i "$@" sh -c "$command"
  fi
  lead runuser -u "$user" -- env -i "$@" sh -c "$command"
}

# No more input comes. Numbers of processes that have ended may be others'.
unfed() {
  if [ -n "$feeder" ] && [ ! -e "$dir/in.closed" ]; then kill "$feeder" 2>/dev/null; fi
}

# Whether the one that waits for the command still does.
attended() {
  { IFS= read -r stat <"/proc/$$/stat"; } 2>/dev/null || return 1
  case ${stat##*) } in Z*) return 1 ;; esac
}

# Nobody asks any more, or the folder is gone: so is the command.
watch() {
  age=0 seen='' group='' ended=
  while :; do
    sleep 1
    age=$((age + 1))
    [ -e "$dir/serve" ] || break
    asked=
    { read -r asked <"$dir/asked"; } 2>/dev/null
    if [ "$asked" != "$seen" ]; then seen=$asked age=0; fi
    [ -n "$group" ] || { read -r group <"$dir/group"; } 2>/dev/null
    limit=$patience
    if [ -e "$dir/status" ]; then
      ended=1
      [ "$limit" -lt 300 ] || limit=300
    fi
    [ $age -lt "$limit" ] || break
  done
  # A folder that was taken away between two looks had ended.
  if [ -z "$ended" ] && attended; then
    unfed
    nap 0.5
    [ -z "$group" ] || sh -c "$terminate" forno "$group" 50
  fi
  [ -e "$dir/serve" ] || dir=
  # From outside of this group: who still writes there would keep it alive.
  exec setsid sh -c 'kill -KILL "-$0"; [ -z "$1" ] || rm -rf -- "$1"' $$ "$dir"
}

pump out 4<"$dir/out.pipe" &
out=$!
pump err 4<"$dir/err.pipe" &
err=$!
feeder=
if [ "$input" = none ]; then
  launch </dev/null >"$dir/out.pipe" 8>"$dir/err.pipe" 2>/dev/null &
  command=$!
else
  launch <"$dir/in.pipe" >"$dir/out.pipe" 8>"$dir/err.pipe" 2>/dev/null &
  command=$!
  feed 5>"$dir/in.pipe" 9<>"$dir/bell" &
  feeder=$!
fi
watch &
wait "$command"
code=$?

# What the command left running may hold its output open: three seconds of
# silence are waited for, and thirty at most.
silent=0 waited=0 seen=
until [ -e "$dir/out.over" ] && [ -e "$dir/err.over" ]; do
  nap 0.05
  [ -e "$dir/serve" ] || exit
  if [ -e "$dir/out.held" ] || [ -e "$dir/err.held" ]; then continue; fi
  sizes="$(wc -c <"$dir/out") $(wc -c <"$dir/err")"
  if [ "$sizes" = "$seen" ]; then silent=$((silent + 1)); else silent=0 seen=$sizes; fi
  waited=$((waited + 1))
  if [ $silent -ge 60 ] || [ $waited -ge 600 ]; then
    [ -e "$dir/out.over" ] || kill "$out" 2>/dev/null
    [ -e "$dir/err.over" ] || kill "$err" 2>/dev/null
    break
  fi
done
unfed
if [ ! -s "$dir/group" ]; then
  status="refused the command cannot be started: $(head -n 1 "$dir/how" 2>/dev/null)"
elif [ -s "$dir/how" ]; then
  status="signal $(kill -l $((code & 127)))"
else
  status="exit $code"
fi
echo "$status" >"$dir/status.new" && mv -f -- "$dir/status.new" "$dir/status"
