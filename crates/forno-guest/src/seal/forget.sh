# Forgets what is this machine's own. $1: public keys, one a line; $2: the folder
# that is the machine's root (empty: this one); then the names of the items.
# Says `did ITEM`, `warn TEXT` or `fail ITEM TEXT` for each.
keys=$1
root=$2
shift 2
export LC_ALL=C
if [ -n "${FORNO_STUB:-}" ]; then echo 'a stub must not be sealed' >&2; exit 1; fi

did() { echo "did $1"; }
fail() { echo "fail $1 $2"; }
warn() { echo "warn $*"; }
here() { [ -z "$root" ]; }

# Home folders of people and of root.
homes() {
  while IFS=: read -r _ _ uid _ _ home _; do
    if [ "$uid" = 0 ] || { [ "$uid" -ge 1000 ] && [ "$uid" -lt 65534 ]; }; then
      if [ "$home" != / ] && [ -d "$root$home" ]; then printf '%s\n' "$root$home"; fi
    fi
  done <"$root/etc/passwd" | sort -u
}

# Every authorized_keys file that sshd may look at, as far as is usual.
authorized() {
  homes | while IFS= read -r home; do
    for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
      if [ -f "$file" ]; then printf '%s\n' "$file"; fi
    done
  done
  if [ -d "$root/etc/ssh" ]; then find "$root/etc/ssh" -type f -name '*authorized_keys*'; fi
}

# What is left of the arguments that exist.
left() {
  for path in "$@"; do
    if [ -e "$path" ] || [ -L "$path" ]; then printf ' %s' "$path"; fi
  done
}

report() {
  if [ -z "$2" ]; then did "$1"; else fail "$1" "still there:$2"; fi
}

authorized_keys() {
  rest=
  [ -z "$keys" ] || rest=$(authorized | while IFS= read -r file; do
    kept=$(grep -vF -- "$keys" "$file")
    if [ -z "$kept" ]; then rm -f -- "$file"; else printf '%s\n' "$kept" >"$file"; fi
    if [ -e "$file" ] && grep -qF -- "$keys" "$file"; then printf ' %s' "$file"; fi
  done)
  report authorized-keys "$rest"
}

# Without somebody to make new ones, a machine without host keys cannot be reached.
host_keys() {
  maker=
  for path in /usr/bin/cloud-init /usr/local/bin/cloud-init /usr/lib/systemd/system/sshd-keygen@.service \
    /usr/lib/systemd/system/ssh-keygen.service /etc/systemd/system/sshd-keygen@.service; do
    if [ -e "$root$path" ]; then maker=$path; fi
  done
  if [ -e "$root/etc/cloud/cloud-init.disabled" ]; then
    case $maker in *cloud-init) maker= ;; esac
  fi
  if [ -d "$root/etc/ssh" ] && [ -z "$maker" ]; then
    fail host-keys "nothing on this machine would make new SSH host keys at the next boot"
    return
  fi
  rm -f -- "$root"/etc/ssh/ssh_host_*
  report host-keys "$(left "$root"/etc/ssh/ssh_host_*)"
}

# Empty, not missing: a missing one makes systemd reset which units are enabled.
machine_id() {
  if [ -e "$root/etc/machine-id" ]; then : >"$root/etc/machine-id"; fi
  if [ -f "$root/var/lib/dbus/machine-id" ] && [ ! -L "$root/var/lib/dbus/machine-id" ]; then
    rm -f -- "$root/var/lib/dbus/machine-id"
    ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
  fi
  if [ -s "$root/etc/machine-id" ]; then fail machine-id "it is not empty"; else did machine-id; fi
}

# Its state only: scripts that were put in its folders belong to the image.
cloud_init() {
  state=$root/var/lib/cloud
  if here && [ -d /etc/cloud/clean.d ]; then
    for hook in /etc/cloud/clean.d/*; do
      if [ -x "$hook" ]; then "$hook" >/dev/null 2>&1 || warn "$hook failed"; fi
    done
  fi
  rm -rf -- "$state/instance" "$state/instances" "$state/data" "$state/sem"
  rm -f -- "$root"/var/log/cloud-init*.log
  report cloud-init "$(left "$state/instance" "$state/instances" "$state/data" "$state/sem" "$root"/var/log/cloud-init*.log)"
}

# And by what a DHCP server knows this machine; systemd-networkd makes that of the machine id.
dhcp_leases() {
  set -- "$root"/var/lib/dhcp/*lease* "$root"/var/lib/dhclient/* "$root"/var/lib/dhcpcd/* "$root/etc/dhcpcd.duid" \
    "$root"/var/lib/NetworkManager/*lease* "$root/var/lib/NetworkManager/secret_key" "$root"/var/lib/systemd/network/*
  rm -f -- "$@"
  report dhcp-leases "$(left "$@")"
}

# systemd would save a new one when the machine stops; a setting in memory keeps
# it from that, this once.
random_seed() {
  if here && [ -d /run/systemd/system ]; then
    unit=/run/systemd/system/systemd-random-seed.service.d
    mkdir -p "$unit" && printf '[Service]\nExecStop=\n' >"$unit/forno.conf"
    systemctl daemon-reload || warn "systemd does not reload: a random seed may be saved at the stop"
  fi
  set -- "$root/var/lib/systemd/random-seed" "$root/var/lib/urandom/random-seed" "$root/var/lib/misc/random-seed" \
    "$root/boot/efi/loader/random-seed" "$root/var/lib/systemd/credential.secret"
  rm -f -- "$@"
  report random-seed "$(left "$@")"
}

network_names() {
  set -- "$root"/etc/udev/rules.d/7?-persistent-net*.rules
  # cloud-init writes these for its own card, and anew at a first boot.
  if [ -e "$root/usr/bin/cloud-init" ]; then
    set -- "$@" "$root/etc/network/interfaces.d/50-cloud-init" "$root/etc/netplan/50-cloud-init.yaml"
  fi
  rm -f -- "$@"
  report network-names "$(left "$@")"
}

package_caches() {
  if here && command -v apt-get >/dev/null 2>&1; then apt-get clean || warn "apt-get clean failed"; fi
  if here && command -v dnf >/dev/null 2>&1; then dnf -q clean all || warn "dnf clean failed"; fi
  rm -f -- "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
  homes | while IFS= read -r home; do rm -rf -- "$home/.cache/pip"; done
  report package-caches "$(left "$root"/var/cache/apt/archives/*.deb)"
}

apt_lists() {
  if [ -d "$root/var/lib/apt/lists" ]; then
    find "$root/var/lib/apt/lists" -mindepth 1 -type f ! -name lock -delete
  fi
  report apt-lists "$(left "$root"/var/lib/apt/lists/*_Packages)"
}

histories() {
  rest=$(homes | while IFS= read -r home; do
    rm -f -- "$home"/.*_history "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts"
    left "$home"/.*_history "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts"
  done)
  report histories "$rest"
}

ansible_remains() {
  rest=$(homes | while IFS= read -r home; do
    rm -rf -- "$home/.ansible/tmp" "$home/.ansible_async"
    rmdir -- "$home/.ansible" 2>/dev/null
    left "$home/.ansible/tmp" "$home/.ansible_async"
  done)
  report ansible-remains "$rest"
}

# Folders of running services stay, and are emptied: the next boot removes them.
temporary_files() {
  for folder in "$root/tmp" "$root/var/tmp"; do
    [ -d "$folder" ] || continue
    find "$folder" -xdev -mindepth 1 -depth ! -path "$folder/systemd-private-*" \
      \( -type d -exec rmdir -- {} + -o -exec rm -f -- {} + \) 2>/dev/null
    find "$folder" -xdev -mindepth 3 -depth -path "$folder/systemd-private-*/tmp/*" \
      \( -type d -exec rmdir -- {} + -o -exec rm -f -- {} + \) 2>/dev/null
  done
  rest=$(find "$root/tmp" "$root/var/tmp" -xdev -type f 2>/dev/null | head -n 3 | tr '\n' ' ')
  report temporary-files "${rest:+ $rest}"
}

# How it is registered, and every script with its output. What it runs now it has
# still to answer for: the link itself may be one.
ssm_agent() {
  home=$root/var/lib/amazon/ssm
  running=
  if here; then
    running=$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | sed -n 's#.*/document/orchestration/\([^/]*\)/.*#\1#p' | tr '\n' ' ')
  fi
  rm -rf -- "$home/Vault" "$home/registration"
  rest=
  for run in "$home"/*/document/orchestration/* "$home"/*/document/state/completed/*; do
    name=${run##*/}
    case " $running" in *" ${name%%.*} "*) continue ;; esac
    rm -rf -- "$run"
    rest="$rest$(left "$run")"
  done
  report ssm-agent "$(left "$home/Vault" "$home/registration")$rest"
}

# The journal moves to memory first, or it would write itself anew.
logs() {
  if here && command -v journalctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
    journalctl --relinquish-var >/dev/null 2>&1 || warn "the journal stays in /var/log"
  fi
  log=$root/var/log
  rm -rf -- "$root"/var/crash/* "$root"/var/lib/systemd/coredump/*
  if [ -d "$log/journal" ]; then find "$log/journal" -mindepth 1 -delete; fi
  if [ -d "$log" ]; then
    find "$log" -xdev -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
    find "$log" -xdev -type f -size +0 -exec sh -c 'for f; do : >"$f"; done' sh {} +
  fi
  rest=$(find "$log" -xdev -type f \( -name '*.gz' -o -name '*.[0-9]' -o -path '*/journal/*' \) 2>/dev/null | head -n 3 | tr '\n' ' ')
  report logs "${rest:+ $rest}"
}

for item; do
  case $item in
  authorized-keys) authorized_keys ;;
  host-keys) host_keys ;;
  machine-id) machine_id ;;
  cloud-init) cloud_init ;;
  dhcp-leases) dhcp_leases ;;
  random-seed) random_seed ;;
  network-names) network_names ;;
  package-caches) package_caches ;;
  apt-lists) apt_lists ;;
  histories) histories ;;
  ansible-remains) ansible_remains ;;
  ssm-agent) ssm_agent ;;
  temporary-files) temporary_files ;;
  logs) logs ;;
  *) fail "$item" "no such item" ;;
  esac
done
sync
