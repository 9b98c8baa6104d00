//! What runs on the machine around every command.
//!
//! Closing a channel ends nothing on the other side, and sshd refuses to pass
//! signals on for root. So each command runs in a process group of its own and
//! says, before anything else, which one that is; to end it, a second command
//! signals the group, its session and all descendants (a script's own `sudo`
//! may have started a session of its own).

use crate::quote::word;

/// The kernel takes at most 128 KiB in one argument; some of it is ours.
pub(crate) const MAX_COMMAND: usize = 96 * 1024;

/// sshd makes each command the leader of a session; where a server does not,
/// `setsid` does. `$1` is what follows, read by this very shell or by the new
/// session's, with the same arguments.
const LEAD: &str = r#"read -r a b c d g e </proc/self/stat
if [ "$g" != "$$" ]; then exec setsid -w sh -c "$1" "$0" "$@"; fi
eval "$1""#;

/// `$2` nonce, `$3` command, `$4` whether as root.
const ANNOUNCE: &str = r#"printf '\001forno:%s:%s\n' "$2" "$$"
if [ "$4" = root ] && [ "$(id -u)" != 0 ]; then exec sudo -n -- sh -c "$3"; fi
exec sh -c "$3""#;

/// A script that ends a process group with its session and all descendants:
/// `$1` group, `$2` tenths of a second between SIGTERM and SIGKILL.
pub const TERMINATE: &str = r#"members() {
  all=
  for f in /proc/[0-9]*/stat; do
    { IFS= read -r s <"$f"; } 2>/dev/null || continue
    p=${f#/proc/}; p=${p%/stat}; s=${s##*) }
    set -- $s
    [ "$1" = Z ] || all="$all $p:$2:$3:$4"
  done
  found=" "; grown=1
  while [ $grown = 1 ]; do
    grown=0
    for e in $all; do
      p=${e%%:*}; r=${e#*:}; parent=${r%%:*}; r=${r#*:}; group=${r%%:*}; session=${r#*:}
      case $found in *" $p "*) continue ;; esac
      if [ "$p" = "$top" ] || [ "$group" = "$top" ] || [ "$session" = "$top" ]; then :; else
        case $found in *" $parent "*) ;; *) continue ;; esac
      fi
      found="$found$p "; grown=1
    done
  done
}
top=$1; patience=$2
members; first=$found
[ "$first" = " " ] || kill -TERM $first 2>/dev/null
while [ "$patience" -gt 0 ]; do
  alive=
  for p in $first; do [ -d "/proc/$p" ] && alive="$alive $p"; done
  members
  [ -z "$alive" ] && [ "$found" = " " ] && exit 0
  patience=$((patience - 1)); sleep 0.1
done
kill -KILL $alive $found 2>/dev/null
exit 0"#;

/// The line to be run by the login shell.
pub(crate) fn wrap(command: &str, nonce: &str, root: bool) -> String {
    format!(
        "exec sh -c {} forno {} {} {} {}",
        word(LEAD),
        word(ANNOUNCE),
        word(nonce),
        word(command),
        if root { "root" } else { "self" },
    )
}

/// Ends a group that [`wrap`] announced; as root where that can be had without a
/// password.
pub(crate) fn terminate(group: u32, tenths: u32) -> String {
    let script = word(TERMINATE);
    format!(
        "if [ \"$(id -u)\" != 0 ] && sudo -n true 2>/dev/null; then \
         exec sudo -n -- sh -c {script} forno {group} {tenths}; else \
         exec sh -c {script} forno {group} {tenths}; fi"
    )
}

/// Takes the announcement out of a command's output.
#[derive(Debug)]
pub(crate) enum Announcement {
    Awaited { mark: Vec<u8>, seen: Vec<u8> },
    Over,
}

/// What a login shell may print before our command runs.
const MOST_NOISE: usize = 64 * 1024;

impl Announcement {
    pub(crate) fn new(nonce: &str) -> Self {
        Self::Awaited {
            mark: format!("\u{1}forno:{nonce}:").into_bytes(),
            seen: Vec::new(),
        }
    }

    /// The group, when this chunk completes the announcement, and what of the
    /// output is the command's.
    pub(crate) fn filter(&mut self, chunk: bytes::Bytes) -> (Option<u32>, bytes::Bytes) {
        let Self::Awaited { mark, seen } = self else {
            return (None, chunk);
        };
        seen.extend_from_slice(&chunk);
        let start = seen.windows(mark.len()).position(|w| w == mark.as_slice());
        let line = start.and_then(|start| {
            let number = start + mark.len();
            let end = seen[number..].iter().position(|&b| b == b'\n')? + number;
            let group = std::str::from_utf8(&seen[number..end]).ok()?.parse().ok()?;
            Some((group, end + 1))
        });
        if let Some((group, end)) = line {
            // What a login shell's own files printed before is not the command's.
            let rest = bytes::Bytes::copy_from_slice(&seen[end..]);
            *self = Self::Over;
            return (Some(group), rest);
        }
        if seen.len() > MOST_NOISE {
            return (None, self.finish());
        }
        (None, bytes::Bytes::new())
    }

    /// What was held back, when the announcement never came: the login shell's
    /// own words, such as "This account is currently not available".
    pub(crate) fn finish(&mut self) -> bytes::Bytes {
        match std::mem::replace(self, Self::Over) {
            Self::Awaited { seen, .. } => seen.into(),
            Self::Over => bytes::Bytes::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_announcement_that_never_comes_hides_nothing() {
        let mut a = Announcement::new("n");
        assert_eq!(
            a.filter(Bytes::from_static(b"not available")),
            (None, Bytes::new())
        );
        assert_eq!(a.finish(), Bytes::from_static(b"not available"));
        assert_eq!(a.finish(), Bytes::new());
    }

    #[test]
    fn endless_noise_is_let_through() {
        let mut a = Announcement::new("n");
        let noise = Bytes::from(vec![b'x'; MOST_NOISE + 1]);
        assert_eq!(a.filter(noise.clone()), (None, noise));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_group_is_found_and_the_output_kept(
            noise in "[a-z\u{1}\n]{0,20}",
            output in proptest::collection::vec(any::<u8>(), 0..40),
            cut in 1_usize..7,
        ) {
            let mut whole = noise.into_bytes();
            whole.extend_from_slice(b"\x01forno:n0nce:4711\n");
            whole.extend_from_slice(&output);
            let mut a = Announcement::new("n0nce");
            let (mut group, mut kept) = (None, Vec::new());
            for chunk in whole.chunks(cut) {
                let (found, rest) = a.filter(Bytes::copy_from_slice(chunk));
                group = group.or(found);
                kept.extend_from_slice(&rest);
            }
            kept.extend_from_slice(&a.finish());
            prop_assert_eq!(group, Some(4711));
            prop_assert_eq!(kept, output);
        }
    }
}
