# Lists who holds a lock of the package manager, one a line.
for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock \
  /var/cache/apt/archives/lock /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock; do
  [ -e "$file" ] || continue
  inode=$(stat -c %i -- "$file") || continue
  while read -r _ _ _ access pid device _; do
    if [ "$access" = WRITE ] && [ "${device##*:}" = "$inode" ]; then
      name=$(cat "/proc/$pid/comm" 2>/dev/null || echo somebody)
      echo "$file is held by $name (process $pid)"
    fi
  done </proc/locks
done
exit 0
