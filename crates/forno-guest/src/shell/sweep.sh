# Ends every run that is left and removes what it had in memory. $3 is the
# script that ends a process group.
for dir in "$base"/forno-*/*/; do
  dir=${dir%/}
  [ -d "$dir" ] || continue
  if { read -r number start <"$dir/pid"; } 2>/dev/null && { ! look "$number" || [ "$since" = "$start" ]; }; then
    sh -c "$3" forno "$number" 10
  fi
done
# A follower may be removing its own meanwhile.
rm -rf -- "$base"/forno-* 2>/dev/null || rm -rf -- "$base"/forno-*
