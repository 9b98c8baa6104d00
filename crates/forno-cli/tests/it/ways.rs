//! Another process reaches the builder of a bake by each way in: a shell, and a
//! tunnel to a port. On stub machines, whose ports are those of this computer.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

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
