//! Connecting, losing the connection and finding it again.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forno_link::link::Discard;
use forno_link::{
    Algorithms, Auth, Command, ErrorKind, HostKeyPair, Identity, Link, SshTarget, Watch, capture,
    connect, testing,
};
use tokio_util::sync::CancellationToken;

macro_rules! server {
    ($extra:expr) => {
        match testing::sshd_with($extra).await {
            Ok(server) => server,
            Err(reason) => {
                forno_testing::skip(reason);
                return;
            }
        }
    };
    () => {
        server!("")
    };
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

async fn failure(target: SshTarget, within: Duration) -> forno_link::Error {
    connect(target, within, &Watch::none(), &never())
        .await
        .map(drop)
        .unwrap_err()
}

/// A port on which nothing listens, held so that nobody else takes it.
fn closed_port() -> (std::net::TcpStream, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    (stream, address)
}

fn nobody(address: SocketAddr) -> SshTarget {
    let auth = Auth::Identity(Arc::new(Identity::generate("x")));
    SshTarget::new(address, "admin", HostKeyPair::generate().public(), auth)
}

#[tokio::test]
async fn another_host_key_is_never_accepted() {
    let server = server!();
    let mut target = server.target();
    target.host_key = HostKeyPair::generate().public();
    let expected = target.host_key.fingerprint();
    let error = failure(target, Duration::from_mins(1)).await;
    let ErrorKind::HostKeyMismatch { expected: e, found } = &error.kind else {
        panic!("{error}");
    };
    assert_eq!((e, found), (&expected, &server.host_key.fingerprint()));
    let text = error.to_string();
    assert!(
        text.contains(&expected) && text.contains(found.as_str()),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("another machine"));
}

#[tokio::test]
async fn a_refused_port_is_tried_until_the_deadline() {
    let (_held, address) = closed_port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let watch = Watch::new(move |attempt| {
        log.lock()
            .unwrap()
            .push((attempt.number, attempt.problem.to_string()));
    });
    let mut target = nobody(address);
    target.timing.pause = Duration::from_millis(50);
    let error = connect(target, Duration::from_millis(600), &watch, &never())
        .await
        .map(drop)
        .unwrap_err();
    let ErrorKind::GaveUp { attempts, last, .. } = &error.kind else {
        panic!("{error}");
    };
    assert!(matches!(**last, ErrorKind::Refused));
    assert!(error.hint().is_some());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len() + 1, *attempts as usize);
    assert!(seen.len() > 1);
    assert_eq!(
        seen[0],
        (1, "connection refused: nothing listens on that port".into())
    );
}

#[tokio::test]
async fn a_server_that_comes_up_late_is_found() {
    let server = server!();
    let (_held, front) = closed_port();
    let back = server.address;
    let mut target = server.target();
    target.dial = front.into();
    let connecting = tokio::spawn(async move {
        connect(target, Duration::from_mins(1), &Watch::none(), &never()).await
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(front).unwrap();
    let listener = socket.listen(8).unwrap();
    // The first connections are hung up on, as by a booting machine.
    let relay = tokio::spawn(async move {
        for n in 0.. {
            let (mut one, _) = listener.accept().await.unwrap();
            if n < 2 {
                continue;
            }
            tokio::spawn(async move {
                let mut other = tokio::net::TcpStream::connect(back).await.unwrap();
                tokio::io::copy_bidirectional(&mut one, &mut other).await
            });
        }
    });
    let link = connecting.await.unwrap().unwrap();
    assert!(
        capture(&link, Command::shell("true"), &never())
            .await
            .unwrap()
            .exit
            .success()
    );
    relay.abort();
}

#[tokio::test]
async fn a_port_that_accepts_and_says_nothing_is_not_waited_for_forever() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut target = nobody(address);
    target.timing.handshake = Duration::from_millis(200);
    let error = failure(target, Duration::from_millis(900)).await;
    let text = error.to_string();
    assert!(
        text.contains("closed before the SSH handshake was over: no answer within 200 ms"),
        "{text}"
    );
    // Half-made connections are hung up, not left to the server.
    let (mut first, _) = listener.accept().unwrap();
    let mut greeting = Vec::new();
    first.read_to_end(&mut greeting).unwrap();
    assert!(greeting.starts_with(b"SSH-2.0-"));
}

#[tokio::test]
async fn a_key_that_is_not_let_in() {
    let server = server!();
    let mut target = server.target();
    let other = Arc::new(Identity::generate("other"));
    target.auth = Auth::Identity(other.clone());
    target.timing.auth_patience = Duration::from_millis(300);
    target.timing.auth_pause = Duration::from_millis(100);
    let error = failure(target, Duration::from_mins(1)).await;
    let text = error.to_string();
    assert!(matches!(error.kind, ErrorKind::AuthFailed { .. }), "{text}");
    assert!(
        text.contains(&other.fingerprint()) && text.contains(&server.user),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("admin"));
}

#[tokio::test]
async fn a_key_that_is_let_in_late_is_waited_for() {
    let server = server!();
    let line = fs_err::read_to_string(server.authorized_keys()).unwrap();
    fs_err::write(server.authorized_keys(), "").unwrap();
    let mut target = server.target();
    target.timing.auth_pause = Duration::from_millis(100);
    let refused = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&refused);
    let watch = Watch::new(move |_| tell.notify_one());
    let connecting =
        tokio::spawn(
            async move { connect(target, Duration::from_mins(1), &watch, &never()).await },
        );
    refused.notified().await;
    fs_err::write(server.authorized_keys(), line).unwrap();
    assert!(connecting.await.unwrap().unwrap().is_connected());
}

#[tokio::test]
async fn only_what_is_chosen_is_offered() {
    let only = |ciphers: &[&'static str], methods: &[&'static str]| {
        Algorithms::only(ciphers, methods).unwrap()
    };
    // A server that knows one of each, and a cipher that forno offers only where it is told to.
    let server = server!("Ciphers aes192-ctr\nKexAlgorithms ecdh-sha2-nistp384");
    let mut target = server.target();
    // It is not tried again.
    let error = failure(target.clone(), Duration::from_mins(5)).await;
    assert_eq!(
        error.kind.to_string(),
        "no cipher that both sides know: forno offers aes128-gcm@openssh.com, aes256-gcm@openssh.com, \
         chacha20-poly1305@openssh.com, aes256-ctr, the machine aes192-ctr"
    );
    assert!(error.hint().unwrap().contains("[builder.ssh]"));
    target.algorithms = only(&["aes256-ctr", "aes192-ctr"], &["ecdh-sha2-nistp384"]);
    let link = server.link_to(target.clone()).await;
    let said = capture(&*link, Command::shell("echo in"), &never()).await;
    assert_eq!(said.unwrap().stdout, "in\n");
    // Foreign clients are told the same.
    let access = link.ssh_access().unwrap();
    assert_eq!(server.foreign(&access, "echo there").await, "there\n");

    target.algorithms = only(&["aes192-ctr"], &["curve25519-sha256"]);
    let refused = failure(target, Duration::from_mins(5)).await;
    assert_eq!(
        refused.kind.to_string(),
        "no key exchange that both sides know: forno offers curve25519-sha256, the machine ecdh-sha2-nistp384"
    );
}

#[tokio::test]
async fn connecting_can_be_cancelled() {
    let (_held, address) = closed_port();
    let cancel = never();
    let token = cancel.clone();
    let watch = Watch::new(move |_| token.cancel());
    let result = connect(nobody(address), Duration::from_mins(10), &watch, &cancel).await;
    assert!(result.map(drop).unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_server_that_stops_answering_counts_as_lost() {
    let server = server!();
    let mut target = server.target();
    target.timing.keepalive = Some(Duration::from_millis(500));
    let link = server.link_to(target).await;
    let running = link.clone();
    let task = tokio::spawn(async move {
        running
            .exec(
                Command::shell("cat >/dev/null; sleep 5"),
                Box::new(Discard),
                &never(),
            )
            .await
    });
    assert!(
        capture(&*link, Command::shell("true"), &never())
            .await
            .unwrap()
            .exit
            .success()
    );
    server.signal(rustix::process::Signal::STOP);
    let error = task.await.unwrap().unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert!(
        error.to_string().contains("the machine stopped answering"),
        "{error}"
    );
    server.signal(rustix::process::Signal::CONT);
}

#[tokio::test]
async fn a_link_reconnects_to_the_same_machine() {
    let server = server!();
    let link = server.link().await;
    link.close().await;
    assert!(!link.is_connected());
    let error = capture(&*link, Command::shell("true"), &never())
        .await
        .unwrap_err();
    assert!(error.is_lost(), "{error}");
    link.reconnect(Duration::from_mins(1), &Watch::none(), &never())
        .await
        .unwrap();
    assert!(
        capture(&*link, Command::shell("true"), &never())
            .await
            .unwrap()
            .exit
            .success()
    );
}

#[tokio::test]
async fn the_fast_cipher_and_the_strict_key_exchange_are_agreed_on() {
    let server = server!("LogLevel DEBUG2");
    let link = server.link().await;
    assert!(link.is_connected());
    let log = server.log();
    assert!(log.contains("cipher: aes128-gcm@openssh.com"), "{log}");
    assert!(log.contains("kex-strict-c-v00@openssh.com"), "{log}");
    assert!(log.contains("ext-info-c"), "{log}");
}
