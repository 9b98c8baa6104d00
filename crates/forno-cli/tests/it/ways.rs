//! Another process reaches the builder of a bake by each way in: a shell, and a
//! tunnel to a port. On stub machines, whose ports are those of this computer.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Machine, Recipe, Sandbox};

#[test]
fn a_shell_and_a_tunnel_by_every_way() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("kept").shell("breaks", "exit 7"));
    let endpoint = sandbox.serve();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("its address").port().to_string();
    std::thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let mut stream = stream;
            let mut word = [0; 4];
            if stream.read_exact(&mut word).is_ok() {
                word.reverse();
                drop(stream.write_all(&word));
            }
        }
    });
    for way in ["ssh", "ssh-over-ssm", "ssm"] {
        let start = ["bake", "kept", "--local", "--on-failure", "keep"];
        let bake = sandbox.start(&[&start[..], &["--connect", way]].concat());
        bake.until_stderr("is kept until");

        let said = sandbox.run(&["shell", "last", "--", "echo said $((6 * 7)); exit 9"]);
        let said = said.code(9);
        assert_eq!(said.stdout.trim(), "said 42", "{way}: {said}");

        // A stub has one port and nothing behind it: its SSH carries no tunnels.
        if way == "ssm" {
            let tunnel = sandbox.start(&["tunnel", "last", &port, "--listen", "0"]);
            let told = tunnel.until_stderr("Ctrl-C ends it");
            let here = told.split(" is port ").next().expect("the address");
            let here = here.rsplit(' ').next().expect("the address").trim();
            let mut stream = TcpStream::connect(here).expect("it listens");
            stream.write_all(b"roma").expect("it is taken");
            let mut word = [0; 4];
            stream.read_exact(&mut word).expect("an answer");
            assert_eq!(&word, b"amor");
            tunnel.signal(Signal::INT);
            tunnel.finish().code(0);
            assert!(TcpStream::connect(here).is_err());

            a_person_at_a_terminal(&sandbox);
        }

        bake.signal(Signal::INT);
        bake.finish().code(30);
        endpoint.holds_nothing();
    }
    sandbox
        .run(&["tunnel", "last", "80"])
        .code(21)
        .says(&["has no machine"]);
}

/// Inside a pseudo terminal (made by util-linux' `script`), as a person would.
fn a_person_at_a_terminal(sandbox: &Sandbox) {
    let forno = sandbox.forno(&["shell", "last"]);
    let program = forno.get_program().to_str().expect("its path");
    let line = format!(
        "echo outer=$(tty); stty cols 91 rows 37; {} shell last; echo code=$?; stty -a",
        shell_words::quote(program)
    );
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in forno.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = forno.get_current_dir() {
        command.current_dir(folder);
    }
    let mut child = command.spawn().expect("script (Debian package bsdutils)");
    let mut keys = child.stdin.take().expect("its input");
    let mut screen = child.stdout.take().expect("its output");
    let mut seen = String::new();
    let mut until = |text: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(text) {
            let count = screen.read(&mut buffer).expect("what is shown");
            assert!(count > 0, "no `{text}` in {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        let at = seen.find(text).expect("it is there");
        let rest = seen.split_off(at + text.len());
        let mut before = std::mem::replace(&mut seen, rest);
        before.truncate(at);
        before
    };
    until("outer=");
    let outer = until("\r\n");
    keys.write_all(b"echo begin-$((40 + 2)); stty size; tty\r")
        .expect("keys");
    until("begin-42");
    until("37 91");
    until("/dev/pts/");
    // The window is made larger.
    let larger = ["-F", &outer, "cols", "100", "rows", "40"];
    let resized = Command::new("stty").args(larger).status().expect("stty");
    assert!(resized.success());
    keys.write_all(b"until stty size | grep '40 100'; do sleep 0.1; done\r")
        .expect("keys");
    until("40 100'");
    until("40 100\r\n");
    // Ctrl-C is for what runs there.
    keys.write_all(b"echo so-$((1 + 1)); sleep 600\r")
        .expect("keys");
    until("so-2");
    keys.write_all(b"\x03").expect("keys");
    keys.write_all(b"echo after-$((2 + 1))\r").expect("keys");
    until("after-3");
    keys.write_all(b"exit\r").expect("keys");
    until("code=0");
    // The terminal is as it was.
    let settings = until("iexten");
    assert!(settings.contains(" icanon"), "{settings}");
    assert!(child.wait().expect("its end").success());
}
