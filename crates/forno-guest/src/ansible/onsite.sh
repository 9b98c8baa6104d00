# Runs a playbook on the machine itself. Around this script's folder lie `play` (the
# playbook's folder), `hosts.json`, perhaps `vars.json`, `requirements.yml`, `inventory` and
# folders of roles. $1: what of the requirements is installed (`role`, `collection`, or both);
# $2: the machine's name in the inventory; $3: the playbook; then the arguments of
# ansible-playbook.
set -eu
here=$(cd "${0%/*}/.." && pwd)
kinds=$1 host=$2 playbook=$3
shift 3
for program in ansible-playbook ${kinds:+ansible-galaxy}; do
  command -v "$program" >/dev/null || {
    echo "forno: $program is not installed on the machine" >&2
    exit 127
  }
done

# Nothing of the machine's own settings: the recipe says what is done.
config=$here/play/ansible.cfg
if [ ! -f "$config" ]; then
  config=$here/ansible.cfg
  : >"$config"
fi
export ANSIBLE_CONFIG="$config" ANSIBLE_HOME="$here/home" ANSIBLE_LOCAL_TEMP="$here/tmp" \
  ANSIBLE_LOG_PATH="$here/log" ANSIBLE_STDOUT_CALLBACK=default ANSIBLE_NOCOLOR=1 ANSIBLE_FORCE_COLOR=0 \
  ANSIBLE_NOCOWS=1 ANSIBLE_PIPELINING=1 ANSIBLE_RETRY_FILES_ENABLED=0 \
  ANSIBLE_PYTHON_INTERPRETER=auto_silent LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
roles='' collections=''
for kind in $kinds; do
  ansible-galaxy "$kind" install -r "$here/requirements.yml" -p "$here/galaxy/${kind}s"
  case $kind in
  role) roles=$here/galaxy/roles: ;;
  collection) collections=$here/galaxy/collections: ;;
  esac
done
for folder in "$here"/roles-*; do
  [ ! -d "$folder" ] || roles=$roles$folder:
done
export ANSIBLE_ROLES_PATH="$roles~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles" \
  ANSIBLE_COLLECTIONS_PATH="$collections~/.ansible/collections:/usr/share/ansible/collections"

if [ -f "$here/vars.json" ]; then set -- --extra-vars "@$here/vars.json" "$@"; fi
cd "$here/play"
code=0
: >"$here/log"
# The last inventory has the last word on how the machine is reached.
ansible-playbook "$@" -i "$here/hosts.json" "$playbook" || code=$?
# A play whose hosts are others is no failure to Ansible.
if [ "$code" = 0 ] && ! grep -qE "\| $host +: ok=" "$here/log"; then exit 65; fi
exit "$code"
