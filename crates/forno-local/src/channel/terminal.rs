//! Sessions in which a person sits at a terminal. A program that is run in the
//! machine, as its agent would run one, makes the pseudo terminal; the session's
//! bytes reach it by a port of the machine's loopback.

use std::time::Duration;

use forno_machine::{Machine, PortStream, Running, Script};
use rand::RngCore as _;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

/// Needs Python, which cloud-init has brought into every image.
const PROGRAM: &str = include_str!("terminal.py");

/// How long it may take until it can be reached.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the program reads before it lets anybody in.
const NONCE: usize = 32;

/// What is typed and how large the terminal is, as the program reads it.
const KEYS: u8 = 0;
const SIZE: u8 = 1;

#[derive(Deserialize)]
struct Size {
    cols: u16,
    rows: u16,
}

/// The stream of a terminal, and what must live as long.
pub(super) type Opened = (PortStream, Running);

/// Starts the program; an error is for the one who opened the session.
pub(super) async fn open(
    machine: Machine,
    session: String,
    command: String,
) -> Result<Opened, String> {
    let mut nonce = [0; NONCE / 2];
    rand::rng().fill_bytes(&mut nonce);
    let nonce = hex::encode(nonce);
    let script = Script {
        name: session,
        text: PROGRAM.to_owned(),
        folder: Some("/".to_owned()),
        env: vec![
            ("FORNO_NONCE".to_owned(), nonce.clone()),
            ("FORNO_COMMAND".to_owned(), command),
        ],
    };
    let opening = async {
        let mut running = machine.run(script).await.map_err(|e| e.to_string())?;
        let mut port = String::new();
        if let Some(stdout) = running.stdout.take() {
            let read = BufReader::new(stdout).read_line(&mut port).await;
            read.map_err(|error| error.to_string())?;
        }
        let Ok(port) = port.trim().parse() else {
            return Err(complaint(running).await);
        };
        let mut stream = machine.dial(port).await.map_err(|e| e.to_string())?;
        let written = stream.write_all(nonce.as_bytes()).await;
        written.map_err(|error| error.to_string())?;
        Ok((stream, running))
    };
    timeout(PATIENCE, opening)
        .await
        .unwrap_or_else(|_| Err("the machine did not answer in time".to_owned()))
}

/// What a program that gave no port has said instead.
async fn complaint(mut running: Running) -> String {
    let mut said = String::new();
    if let Some(stderr) = running.stderr.take() {
        // What it says is for people; that it cannot be read changes nothing.
        let _ = stderr.take(4096).read_to_string(&mut said).await;
    }
    match said.trim() {
        "" => format!("python3 ended without a word: {:?}", running.ended().await),
        said => said.to_owned(),
    }
}

/// What was typed.
pub(super) fn keys(typed: &[u8]) -> Vec<u8> {
    framed(KEYS, typed)
}

/// A size as clients say it. What is none changes nothing.
pub(super) fn size(payload: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Size>(payload) {
        Ok(Size { cols, rows }) => {
            let numbers = [cols.to_be_bytes(), rows.to_be_bytes()].concat();
            framed(SIZE, &numbers)
        }
        Err(error) => {
            tracing::warn!(%error, "the size of a terminal is dropped");
            Vec::new()
        }
    }
}

fn framed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut frame = vec![kind];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_sizes_are_framed() {
        assert_eq!(keys(b"ls\r"), b"\x00\x00\x00\x00\x03ls\r");
        assert_eq!(
            size(br#"{"cols":91,"rows":300}"#),
            b"\x01\x00\x00\x00\x04\x00\x5b\x01\x2c"
        );
        assert_eq!(size(b"large"), b"");
    }
}
