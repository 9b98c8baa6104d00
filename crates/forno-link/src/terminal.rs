//! The local terminal, raw for a while and restored on every way out.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::unix::AsyncFd;

/// The terminal of this process, in raw mode until dropped.
pub(crate) struct Terminal {
    // Opened anew: making it non-blocking does not touch the descriptors that
    // this process shares with the shell that started it.
    tty: AsyncFd<File>,
    before: Termios,
}

/// Whether a person sits at both ends.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Terminal {
    pub(crate) fn raw() -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open("/dev/tty")?;
        let before = tcgetattr(&tty)?;
        let mut raw = before.clone();
        raw.make_raw();
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may change their descriptor; a File does not"
        )]
        let tty = AsyncFd::new(tty)?;
        let terminal = Self { tty, before };
        tcsetattr(terminal.tty.get_ref(), OptionalActions::Now, &raw)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (u32, u32) {
        match tcgetwinsize(self.tty.get_ref()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.tty.readable().await?;
            if let Ok(result) = ready.try_io(|tty| tty.get_ref().read(buffer)) {
                return result;
            }
        }
    }

    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.tty.writable().await?;
            match ready.try_io(|tty| tty.get_ref().write(bytes)) {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Ok(count)) => bytes = &bytes[count..],
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty.get_ref(), OptionalActions::Drain, &self.before);
    }
}
