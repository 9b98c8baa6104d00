//! The agent, asked by OpenSSH's own tools and by another link.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;

use forno_link::{AgentSocket, Auth, Command, Identity, Link, capture, testing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

async fn tool(agent: &AgentSocket, program: &str, args: &[&str]) -> std::process::Output {
    tokio::process::Command::new(program)
        .args(args)
        .env("SSH_AUTH_SOCK", agent.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn openssh_logs_in_with_it() {
    let Ok(server) = testing::sshd().await else {
        return;
    };
    let agent = AgentSocket::new(server.identity.clone()).unwrap();
    let known = server.dir().join("known_hosts");
    let line = format!(
        "[127.0.0.1]:{} {}\n",
        server.address.port(),
        server.host_key.line()
    );
    fs_err::write(&known, line).unwrap();
    let known = format!("UserKnownHostsFile={}", known.display());
    let port = server.address.port().to_string();
    let destination = format!("{}@127.0.0.1", server.user);
    let args = [
        "-F",
        "none",
        "-o",
        &known,
        "-o",
        "StrictHostKeyChecking=yes",
        "-p",
        &port,
        &destination,
        "echo in",
    ];
    let output = tool(&agent, "ssh", &args).await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "in\n",
        "{output:?}"
    );
}

#[tokio::test]
async fn it_lists_one_key_and_refuses_all_else() {
    let identity = Arc::new(Identity::generate("forno base"));
    let agent = AgentSocket::new(identity.clone()).unwrap();
    let output = tool(&agent, "ssh-add", &["-L"]).await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        identity.public_line()
    );
    assert!(!tool(&agent, "ssh-add", &["-D"]).await.status.success());
    assert!(!tool(&agent, "ssh-add", &["-x"]).await.status.success());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    let path = file.to_str().unwrap();
    assert!(
        tool(
            &agent,
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-f", path]
        )
        .await
        .status
        .success()
    );
    assert!(!tool(&agent, "ssh-add", &[path]).await.status.success());
    let output = tool(&agent, "ssh-add", &["-L"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[tokio::test]
async fn the_socket_is_private_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let identity = Arc::new(Identity::generate("x"));
    fs_err::write(&path, "left by a dead process").unwrap();
    let agent = AgentSocket::at(&path, identity.clone()).unwrap();
    let mode = fs_err::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(agent);
    assert!(!path.exists());

    let agent = AgentSocket::new(identity).unwrap();
    let folder = agent.path().parent().unwrap().to_owned();
    let mode = fs_err::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(agent);
    assert!(!folder.exists());
}

#[tokio::test]
async fn another_process_logs_in_through_it_even_over_a_long_path() {
    let Ok(server) = testing::sshd().await else {
        return;
    };
    let deep = server.dir().join("x".repeat(120));
    fs_err::create_dir(&deep).unwrap();
    for path in [server.dir().join("agent.sock"), deep.join("agent.sock")] {
        let agent = AgentSocket::at(&path, server.identity.clone()).unwrap();
        assert!(agent.path().as_os_str().len() <= 100);
        let mut target = server.target();
        target.auth = Auth::Agent(path.clone());
        let link = server.link_to(target).await;
        let output = capture(&*link, Command::shell("echo in"), &CancellationToken::new()).await;
        assert_eq!(output.unwrap().stdout, "in\n");
        assert!(link.is_connected());
        drop(agent);
        assert!(fs_err::symlink_metadata(&path).is_err());
    }
}

#[tokio::test]
async fn nonsense_is_refused_without_harm() {
    let agent = AgentSocket::new(Arc::new(Identity::generate("x"))).unwrap();
    for request in [
        &[0, 0, 0, 0][..],
        &[0xff, 0xff, 0xff, 0xff, 1],
        &[0, 0, 0, 1, 13],
        &[0, 0, 0, 5, 13, 0, 0, 0, 9],
    ] {
        let mut stream = tokio::net::UnixStream::connect(agent.path()).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        assert!(reply.is_empty() || reply == [0, 0, 0, 1, 5], "{reply:?}");
    }
    assert!(tool(&agent, "ssh-add", &["-l"]).await.status.success());
}
