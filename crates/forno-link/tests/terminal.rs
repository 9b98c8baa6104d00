//! A person's terminal joined with the machine: this program runs itself once
//! more inside a pseudo terminal (made by util-linux' `script`), where it logs in
//! through the agent of the first, as `forno shell` does.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it has no harness to speak for it"
)]

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use forno_link::{
    AgentSocket, Auth, Exit, Link, ShellOptions, SshTarget, Watch, connect, quote, shell, testing,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let [_, mode, address, user, host_key, agent, command @ ..] = args.as_slice()
        && mode == "--shell"
    {
        let target = SshTarget::new(
            address.parse::<std::net::SocketAddr>().unwrap(),
            user.clone(),
            host_key.parse().unwrap(),
            Auth::Agent(PathBuf::from(agent)),
        );
        return runtime.block_on(session(target, command.first().cloned()));
    }
    let tests = [
        "a_terminal_is_joined_and_restored",
        "a_pipe_passes_as_it_is",
    ];
    if args.iter().any(|arg| arg == "--list") {
        for test in tests {
            println!("{test}: test");
        }
        return ExitCode::SUCCESS;
    }
    runtime.block_on(all());
    ExitCode::SUCCESS
}

async fn session(target: SshTarget, command: Option<String>) -> ExitCode {
    let cancel = CancellationToken::new();
    let link = connect(target, Duration::from_mins(1), &Watch::none(), &cancel)
        .await
        .unwrap();
    let options = ShellOptions {
        command,
        term: "xterm".into(),
    };
    let exit = shell(&link, &options, &cancel).await;
    link.close().await;
    match exit {
        Ok(Exit::Code(code)) => ExitCode::from(u8::try_from(code).unwrap()),
        other => {
            eprintln!("{other:?}");
            ExitCode::from(99)
        }
    }
}

async fn all() {
    let server = match testing::sshd().await {
        Ok(server) => server,
        Err(reason) => {
            forno_testing::skip(reason);
            return;
        }
    };
    let agent = AgentSocket::at(&server.dir().join("agent.sock"), server.identity.clone()).unwrap();
    let exe = std::env::current_exe().unwrap();
    let host_key = server.host_key.line();
    let address = server.address.to_string();
    let words = [
        exe.to_str().unwrap(),
        "--shell",
        &address,
        &server.user,
        &host_key,
        agent.path().to_str().unwrap(),
    ];
    let line = quote::line(words);
    a_terminal_is_joined_and_restored(&line).await;
    println!("test a_terminal_is_joined_and_restored ... ok");
    a_pipe_passes_as_it_is(&line).await;
    println!("test a_pipe_passes_as_it_is ... ok");
}

/// Reads until a text has come.
async fn expect(from: &mut (impl AsyncReadExt + Unpin), seen: &mut String, text: &str) {
    let mut buffer = [0; 4096];
    while !seen.contains(text) {
        let read = tokio::time::timeout(Duration::from_mins(1), from.read(&mut buffer));
        let count = read
            .await
            .unwrap_or_else(|_| panic!("no `{text}` in {seen}"))
            .unwrap();
        assert!(count > 0, "no `{text}` in {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

async fn a_terminal_is_joined_and_restored(line: &str) {
    if !Path::new("/usr/bin/script").exists() {
        forno_testing::skip("script is missing (Debian package bsdutils)");
        return;
    }
    let inside = format!("stty cols 91 rows 37; {line}; echo \"code=$?\"; stty -a");
    let mut child = Command::new("script")
        .args([
            "-qec",
            &format!("sh -c {}", quote::word(&inside)),
            "/dev/null",
        ])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    keys.write_all(b"echo begin-$((40 + 2)); stty size; tty\r")
        .await
        .unwrap();
    expect(&mut screen, &mut seen, "begin-42").await;
    expect(&mut screen, &mut seen, "37 91").await;
    expect(&mut screen, &mut seen, "/dev/pts/").await;
    // Ctrl-C is the remote program's, not ours.
    keys.write_all(b"sleep 600\r").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    keys.write_all(b"\x03").await.unwrap();
    keys.write_all(b"echo after-$((1 + 1))\r").await.unwrap();
    expect(&mut screen, &mut seen, "after-2").await;
    keys.write_all(b"exit 7\r").await.unwrap();
    expect(&mut screen, &mut seen, "code=7").await;
    expect(&mut screen, &mut seen, "iexten").await;
    let (_, settings) = seen.split_once("code=7").unwrap();
    assert!(
        settings.contains(" icanon") && !settings.contains("-icanon"),
        "{settings}"
    );
    assert!(child.wait().await.unwrap().success());
}

async fn a_pipe_passes_as_it_is(line: &str) {
    let command = format!("{line} {}", quote::word("cat; echo error >&2; exit 5"));
    let mut child = Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let mut input = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writing = tokio::spawn(async move { input.write_all(&sent).await });
    let output = child.wait_with_output().await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(output.stdout == bytes, "{} bytes came", output.stdout.len());
    assert_eq!(output.stderr, b"error\n");
}
