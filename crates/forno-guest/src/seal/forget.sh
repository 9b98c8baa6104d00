# shellcheck disable=SC2317 # the functions are called by the names of the items
# Forgets what is this machine's own. Run as root by /bin/sh.
#   $1  names of what to keep, each between spaces
#   $2… public key blobs whose lines leave every authorized_keys
# Tells on standard output, a line each: `forgotten NAME`, `warning TEXT`,
# `left TEXT` for what was to go and is still there.

keep=" $1 "
shift

homes() {
    getent passwd | cut -d: -f6 | sort -u | while read -r home; do
        if [ -d "$home" ] && [ "$home" != / ]; then echo "$home"; fi
    done
}
empty() { [ -d "$1" ] && find "$1" -mindepth 1 -xdev -delete 2>/dev/null; return 0; }

authorized_keys() {
    homes | while read -r home; do
        for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
            [ -f "$file" ] || continue
            for blob in "$@"; do
                grep -qF -- "$blob" "$file" || continue
                kept=$(grep -vF -- "$blob" "$file")
                # Through the same inode: owner, mode and links stay.
                printf '%s' "${kept:+$kept
}" >"$file"
            done
            [ -s "$file" ] || rm -f "$file"
        done
    done
    homes | while read -r home; do
        for blob in "$@"; do
            grep -sqF -- "$blob" "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2" &&
                echo "left forno's key in $home/.ssh"
        done
    done
}

host_keys() {
    rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
    for file in /etc/ssh/ssh_host_*_key; do [ -e "$file" ] && echo "left $file"; done
}

# Empty, not absent: systemd then makes a new one and binds it where the disk is read-only.
machine_id() {
    [ -e /etc/machine-id ] && : >/etc/machine-id
    if [ -e /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then
        rm -f /var/lib/dbus/machine-id
        ln -s /etc/machine-id /var/lib/dbus/machine-id
    fi
    [ -s /etc/machine-id ] && echo "left /etc/machine-id"
}

# The folder of scripts is the image's, everything else is this instance's.
cloud_init() {
    [ -d /var/lib/cloud ] || return 0
    find /var/lib/cloud -mindepth 1 -maxdepth 1 ! -name scripts ! -name seed -exec rm -rf {} +
    rm -rf /run/cloud-init /var/log/cloud-init.log /var/log/cloud-init-output.log
    [ -e /var/lib/cloud/instance ] && echo "left /var/lib/cloud/instance"
    [ -e /var/lib/cloud/instances ] && echo "left /var/lib/cloud/instances"
}

dhcp_leases() {
    rm -f /var/lib/dhcp/*.leases /var/lib/dhclient/*.leases /var/lib/dhcpcd/*.lease* \
        /var/lib/NetworkManager/*.lease /run/systemd/netif/leases/*
}

random_seed() {
    rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /boot/efi/loader/random-seed
}

# cloud-init writes them anew on the next first boot; without it they are somebody's own.
network_names() {
    command -v cloud-init >/dev/null || return 0
    rm -f /etc/udev/rules.d/70-persistent-net.rules /etc/network/interfaces.d/50-cloud-init \
        /etc/netplan/50-cloud-init.yaml
}

package_caches() {
    if command -v apt-get >/dev/null; then
        apt-get clean || echo "warning apt-get clean failed"
        empty /var/lib/apt/lists
    fi
    if command -v dnf >/dev/null; then dnf --quiet clean all || echo "warning dnf clean failed"; fi
    homes | while read -r home; do rm -rf "$home/.cache/pip"; done
}

histories() {
    homes | while read -r home; do
        rm -f "$home/.bash_history" "$home/.zsh_history" "$home/.ash_history" "$home/.sh_history" \
            "$home/.python_history" "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts" \
            "$home/.mysql_history" "$home/.psql_history" "$home/.sudo_as_admin_successful"
    done
}

ansible_remains() { homes | while read -r home; do rm -rf "$home/.ansible"; done; }

temporary_files() {
    empty /tmp
    empty /var/tmp
    rm -rf /var/crash/*
}

# Those who write keep their files open: what is text is cut, what is a
# journal is unlinked and begun anew.
logs() {
    rm -rf /var/log/journal/* /var/lib/systemd/coredump/*
    [ -d /var/log ] || return 0
    find /var/log -xdev -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
    find /var/log -xdev -type f -exec truncate --size=0 {} +
}

for item in authorized-keys host-keys machine-id cloud-init dhcp-leases random-seed network-names \
    package-caches histories ansible-remains temporary-files logs; do
    case "$keep" in *" $item "*) continue ;; esac
    # A stub runs its commands on the computer of whoever bakes, and its disk is
    # its home alone: nothing of all this is on it, and nothing here may be touched.
    [ -n "${FORNO_STUB:-}" ] || "$(echo "$item" | tr - _)" "$@"
    echo "forgotten $item"
done
exit 0
