//! A run: one script that runs on the machine by itself, in a folder of its
//! own, and the commands by which it is started, followed, and ended.
//!
//! The folder holds the script, its two outputs in pieces, and at last its exit
//! status. It lies in memory, in a parent that only its user can enter. What
//! runs the script (`supervise.sh`) is the leader of a session of its own and
//! knows nothing of the connection that started it; what carries its output
//! (`follow.sh`) is the command of a connection and can be replaced by another.

use bytes::Bytes;
use forno_link::{Command, Link, Stdin, TERMINATE};

use crate::{RunState, StepContext, StepError};

const PLACE: &str = include_str!("place.sh");
const FOLLOW: &str = include_str!("follow.sh");
const START: &str = include_str!("start.sh");
const ATTACH: &str = include_str!("attach.sh");
const RELEASE: &str = include_str!("release.sh");
const END: &str = include_str!("end.sh");
const SWEEP: &str = include_str!("sweep.sh");

/// Longer names of steps are cut.
const NAME: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(super) sudo: bool,
    /// It has been heard of.
    pub(super) begun: bool,
}

impl Run {
    pub(super) fn new(ctx: &StepContext, sudo: bool) -> Self {
        Self {
            id: new_id(ctx),
            sudo,
            begun: false,
        }
    }

    pub(super) fn of(state: &RunState, sudo: bool) -> Self {
        Self {
            id: state.id.clone(),
            sudo,
            begun: false,
        }
    }

    pub(super) fn start(&self, link: &dyn Link, nonce: &str, size: usize) -> Command {
        let size = size.to_string();
        self.command(link, &[FOLLOW, START], &[nonce, &size])
    }

    pub(super) fn attach(&self, link: &dyn Link, nonce: &str, stdout: u64, stderr: u64) -> Command {
        let (stdout, stderr) = (stdout.to_string(), stderr.to_string());
        let args = [nonce, &stdout, &stderr, self.claim()];
        self.command(link, &[FOLLOW, ATTACH], &args)
    }

    /// Output up to these offsets is not asked for again.
    pub(super) fn release(&self, link: &dyn Link, stdout: u64, stderr: u64) -> Command {
        let (stdout, stderr) = (stdout.to_string(), stderr.to_string());
        self.command(link, &[RELEASE], &[&stdout, &stderr])
    }

    pub(super) fn end(&self, link: &dyn Link) -> Command {
        self.command(link, &[END], &[TERMINATE, self.claim()])
    }

    fn claim(&self) -> &'static str {
        if self.begun { "known" } else { "claim" }
    }

    fn command(&self, link: &dyn Link, scripts: &[&str], args: &[&str]) -> Command {
        let user = if self.sudo { "root" } else { link.user() };
        let (user, id) = (safe(user), safe(&self.id));
        let all = [user.as_str(), id.as_str()].into_iter();
        let text = [&[PLACE], scripts].concat().concat();
        Command::script(&text, all.chain(args.iter().copied())).sudo(self.sudo)
    }
}

/// Of the step, with a number that nobody can guess.
pub(crate) fn new_id(ctx: &StepContext) -> String {
    let name: String = safe(ctx.step.as_str()).chars().take(NAME).collect();
    format!("{name}-{}", nonce())
}

pub(super) fn nonce() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// As one part of a path that needs no thought.
fn safe(name: &str) -> String {
    let kept = name.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
        _ => '_',
    });
    kept.collect()
}

/// Ends all runs of the machine, whoever began them, and removes their folders.
pub(crate) async fn sweep(link: &dyn Link, ctx: &StepContext) -> Result<(), StepError> {
    let text = [PLACE, SWEEP].concat();
    let command = Command::script(&text, ["", "", TERMINATE]).sudo(true);
    let output = forno_link::capture(link, command, &ctx.cancel).await?;
    if output.exit.success() {
        return Ok(());
    }
    let reason = output.reason();
    Err(StepError::guest(format!(
        "cannot remove what steps left in memory: {reason}"
    )))
}

/// The archive that a run's folder is made of, but for the script itself and
/// what starts it: places for what is noted later, with room that full memory
/// cannot take away.
pub(super) fn furnish(archive: &mut tar::Builder<Vec<u8>>) -> std::io::Result<()> {
    const ROOM: &[u8] = b"                    ";
    const ZERO: &[u8] = b"0\n                  ";
    add(archive, "run", 0o700, include_bytes!("supervise.sh"))?;
    for (name, content) in [
        ("status", ROOM),
        ("code", ROOM),
        ("out.acked", ZERO),
        ("err.acked", ZERO),
        ("out.dropped", ZERO),
        ("err.dropped", ZERO),
        ("out.0.0", b"".as_slice()),
        ("err.0.0", b""),
    ] {
        add(archive, name, 0o600, content)?;
    }
    for name in ["bell", "hold", "out.pipe", "err.pipe"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Fifo);
        header.set_mode(0o600);
        header.set_size(0);
        archive.append_data(&mut header, name, std::io::empty())?;
    }
    Ok(())
}

pub(super) fn add(
    archive: &mut tar::Builder<Vec<u8>>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content)
}

/// A standard input that stays open behind what is sent first.
pub(super) fn open_input(first: &Bytes) -> (Input, Stdin) {
    const CHUNK: usize = 256 * 1024;
    let room = first.len() / CHUNK + 2;
    let (sender, receiver) = tokio::sync::mpsc::channel(room);
    for start in (0..first.len()).step_by(CHUNK) {
        let end = first.len().min(start + CHUNK);
        // There is room for all of it.
        let _ = sender.try_send(Ok(first.slice(start..end)));
    }
    (Input(sender), Stdin::Stream(receiver))
}

/// The follower's standard input. Dropped, the run and its folder stay.
#[derive(Debug)]
pub(crate) struct Input(tokio::sync::mpsc::Sender<std::io::Result<Bytes>>);

impl Input {
    /// The result is safe on this side: the run's folder may go.
    pub(crate) fn collected(self) {
        let _ = self.0.try_send(Ok(Bytes::from_static(b"collected\n")));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Memory that is full stands in the same way as a limit for files.
    #[test]
    fn a_script_goes_on_when_there_is_no_room_for_its_output() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let start = b"head -c 3000000 /dev/zero; echo over >&2; exit 3\n";
        furnish(&mut archive).unwrap();
        add(&mut archive, "start", 0o600, start).unwrap();
        let mut tar = Command::new("tar")
            .args(["-x", "-f", "-", "-C"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let archive = archive.into_inner().unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(tar.wait().unwrap().success());
        let limited = r#"ulimit -f 1000; exec sh "$0" 2>/dev/null"#;
        let mut run = Command::new("sh")
            .args(["-c", limited])
            .arg(dir.path().join("run"))
            .env("HOME", dir.path())
            .spawn()
            .unwrap();
        let read = |name: &str| fs_err::read_to_string(dir.path().join(name)).unwrap();
        let line = |name: &str| read(name).split_once('\n').map(|(line, _)| line.to_owned());
        let status = loop {
            if let Some(status) = line("status") {
                break status;
            }
            std::thread::yield_now();
        };
        run.kill().unwrap();
        run.wait().unwrap();
        assert_eq!((status.as_str(), read("err.0.0").as_str()), ("3", "over\n"));
        let kept = read("out.0.0").len();
        let dropped: usize = line("out.dropped").unwrap().trim().parse().unwrap();
        assert!(kept > 0 && dropped > 0 && kept + dropped <= 3_000_000);
        assert!(kept + dropped > 2_900_000, "{kept} {dropped}");
    }

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(safe("step-01"), "step-01");
        assert_eq!(safe("../../etc/x y\n$(z)"), "______etc_x_y___z_");
    }
}
