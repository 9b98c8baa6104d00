//! Assertions that hold and that do not, on this computer; nothing is changed.

mod common;

use common::{Bench, bench};
use forno_guest::{
    Action, Assertion, CommandAssertion, FileAssertion, FileKind, PackageAssertion, PortAssertion,
    Protocol, UserAssertion,
};

async fn check(bench: &Bench, assertion: Assertion) -> String {
    match bench.run(Action::Assert(assertion)).await {
        Ok(_) => "holds".into(),
        Err(error) => error
            .to_string()
            .replace(bench.dir().to_str().unwrap(), "DIR"),
    }
}

fn file(path: &std::path::Path) -> FileAssertion {
    FileAssertion {
        path: path.to_str().unwrap().to_owned(),
        exists: true,
        kind: None,
        mode: None,
        owner: None,
        group: None,
        contains: None,
        sha256: None,
    }
}

#[tokio::test]
async fn files() {
    let Some(bench) = bench().await else { return };
    let path = bench.dir().join("it's a \"file\"");
    fs_err::write(&path, "one\ntwo\nthree\n").unwrap();
    std::os::unix::fs::symlink(&path, bench.dir().join("link")).unwrap();
    std::os::unix::fs::symlink("/no/where", bench.dir().join("dangling")).unwrap();
    let sum = "f79b1d8bb6c2b7ff8f7e5bb3ef5d1f8ec3ce1f0b1ffa4a8a2a5d06d0ba4c1b4b";
    let mode = |mode| FileAssertion {
        mode: Some(mode),
        ..file(&path)
    };
    let said = [
        check(&bench, Assertion::File(file(&path))).await,
        check(
            &bench,
            Assertion::File(FileAssertion {
                exists: false,
                ..file(&bench.dir().join("none"))
            }),
        )
        .await,
        check(
            &bench,
            Assertion::File(FileAssertion {
                kind: Some(FileKind::Symlink),
                ..file(&bench.dir().join("link"))
            }),
        )
        .await,
        check(
            &bench,
            Assertion::File(FileAssertion {
                kind: Some(FileKind::File),
                ..file(&bench.dir().join("link"))
            }),
        )
        .await,
        check(
            &bench,
            Assertion::File(FileAssertion {
                contains: Some("two\nthree".into()),
                ..file(&path)
            }),
        )
        .await,
        check(&bench, Assertion::File(file(&bench.dir().join("none")))).await,
        check(&bench, Assertion::File(file(&bench.dir().join("dangling")))).await,
        check(
            &bench,
            Assertion::File(FileAssertion {
                exists: false,
                ..file(&path)
            }),
        )
        .await,
        check(
            &bench,
            Assertion::File(FileAssertion {
                kind: Some(FileKind::Directory),
                ..mode(0o600)
            }),
        )
        .await,
        check(
            &bench,
            Assertion::File(FileAssertion {
                owner: Some("nobody-else".into()),
                group: Some("4711".into()),
                contains: Some("four".into()),
                sha256: Some(sum.into()),
                ..mode(0o4600)
            }),
        )
        .await,
    ];
    insta::assert_snapshot!(said.join("\n").replace(&bench.server.user, "USER"));
}

#[tokio::test]
async fn ports() {
    let Some(bench) = bench().await else { return };
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
    let port = |port, protocol, listening, address: Option<&str>| {
        Assertion::Port(PortAssertion {
            port,
            listening,
            protocol,
            address: address.map(Into::into),
        })
    };
    let (t, u) = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    let said = [
        check(&bench, port(t, Protocol::Tcp, true, None)).await,
        check(&bench, port(t, Protocol::Tcp, true, Some("127.0.0.1"))).await,
        check(&bench, port(u, Protocol::Udp, true, Some("::1"))).await,
        check(&bench, port(1, Protocol::Tcp, false, None)).await,
        check(&bench, port(t, Protocol::Tcp, false, None)).await,
        check(&bench, port(t, Protocol::Tcp, true, Some("10.1.2.3"))).await,
        check(&bench, port(1, Protocol::Udp, true, None)).await,
        check(&bench, port(1, Protocol::Tcp, true, Some("everywhere"))).await,
    ];
    insta::assert_snapshot!(said.join("\n").replace(&t.to_string(), "PORT"), @r"
    holds
    holds
    holds
    holds
    port PORT/tcp: expected nobody listening, found a listener at 127.0.0.1
    port PORT/tcp: expected a listener at 10.1.2.3, found a listener at 127.0.0.1
    port 1/udp: expected a listener, found nobody listening
    `everywhere` is not an IP address
    ");
}

#[tokio::test]
async fn users() {
    let Some(bench) = bench().await else { return };
    let user = |name: &str| UserAssertion {
        name: name.into(),
        exists: true,
        uid: None,
        groups: Vec::new(),
        home: None,
        shell: None,
    };
    let daemon = UserAssertion {
        uid: Some(7),
        groups: vec!["daemon".into(), "wheel".into()],
        home: Some("/home/daemon".into()),
        shell: Some("/usr/sbin/nologin".into()),
        ..user("daemon")
    };
    let said = [
        check(
            &bench,
            Assertion::User(UserAssertion {
                uid: Some(0),
                ..user("root")
            }),
        )
        .await,
        check(
            &bench,
            Assertion::User(UserAssertion {
                exists: false,
                ..user("no-such-user")
            }),
        )
        .await,
        check(&bench, Assertion::User(user("no-such-user"))).await,
        check(
            &bench,
            Assertion::User(UserAssertion {
                exists: false,
                ..user("root")
            }),
        )
        .await,
        check(&bench, Assertion::User(daemon)).await,
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    holds
    holds
    user no-such-user: expected to exist, found no such user
    user root: expected no such user, found uid 0
    uid of daemon: expected 7, found 1
    home of daemon: expected /home/daemon, found /usr/sbin
    groups of daemon: expected `wheel` among them, found daemon
    ");
}

#[tokio::test]
async fn packages() {
    let Some(bench) = bench().await else { return };
    if !std::path::Path::new("/usr/bin/dpkg-query").exists() {
        forno_testing::skip("no dpkg here");
        return;
    }
    let package = |name: &str, installed, version: Option<&str>| {
        Assertion::Package(PackageAssertion {
            name: name.into(),
            installed,
            version: version.map(Into::into),
        })
    };
    assert_eq!(
        check(&bench, package("dpkg", true, Some("1.*"))).await,
        "holds"
    );
    assert_eq!(
        check(&bench, package("no-such-package", false, None)).await,
        "holds"
    );
    let missing = check(&bench, package("no-such-package", true, None)).await;
    assert_eq!(
        missing,
        "package no-such-package: expected installed, found not installed"
    );
    let other = check(&bench, package("dpkg", true, Some("0.*"))).await;
    assert!(
        other.starts_with("package dpkg: expected version 0.*, found version 1."),
        "{other}"
    );
    let there = check(&bench, package("dpkg", false, None)).await;
    assert!(
        there.starts_with("package dpkg: expected not installed, found version 1."),
        "{there}"
    );

    let list = bench.guest.packages(&bench.ctx).await.unwrap();
    assert!(list.is_sorted());
    let dpkg = list.iter().find(|package| package.name == "dpkg").unwrap();
    assert!(dpkg.version.starts_with("1."));
}

#[tokio::test]
async fn commands() {
    let Some(bench) = bench().await else { return };
    let command = |text: &str, codes: &[u32], contains: Option<&str>| {
        Assertion::Command(CommandAssertion {
            command: text.into(),
            sudo: false,
            valid_exit_codes: codes.to_vec(),
            contains: contains.map(Into::into),
        })
    };
    let said = [
        check(&bench, command("true", &[0], None)).await,
        check(&bench, command("echo hello; exit 3", &[0, 3], Some("hell"))).await,
        check(&bench, command("false\ntrue", &[0], None)).await,
        check(&bench, command("echo one; echo two", &[0], Some("three"))).await,
        check(&bench, command("true", &[1, 2], None)).await,
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    holds
    holds
    command `false`: expected exit status 0, found exit status 1
    output of `echo one; echo two`: expected `three` in it, found `one`
    command `true`: expected exit status 1 or 2, found exit status 0
    ");
}
