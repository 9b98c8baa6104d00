# Starts the command, once: the same text may come twice, when a reply is lost.
if [ -n "$booted" ] && [ "$booted" != "${boot:-unknown}" ]; then over rebooted; fi
if [ -e "$dir/ending" ]; then over gone; fi

failed() {
  rm -rf -- "${dir:?}"/*
  printf '' >"$dir/ending"
  over "refused $1"
}

begin() {
  mkdir -- "$dir/in" && printf '' >"$dir/out" && printf "" >"$dir/err" &&
    echo 0 >"$dir/out.acked" && echo 0 >"$dir/err.acked" &&
    mkfifo -- "$dir/in.pipe" "$dir/out.pipe" "$dir/err.pipe" "$dir/bell" ||
    failed "there is no room in $base"
  [ ! -e "$dir/ending" ] || over gone
  setsid sh "$dir/serve" "$dir" "$user" "$root" "$input" "$patience" "$most" </dev/null >/dev/null 2>&1 &
  echo >"$dir/ready"
}
