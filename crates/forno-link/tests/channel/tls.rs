//! The gateway's certificate is checked against this computer's own roots. Those
//! are read once per process and from where the environment says, so the test runs
//! itself once more, with roots of its own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use forno_link::ssm::InstancePort;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::service::Service;

const FOLDER: &str = "FORNO_TEST_CERTIFICATE";

/// A certificate for `localhost`, and its key.
fn certificate(dir: &Path) {
    fs_err::create_dir(dir).unwrap();
    let config = "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n\
                  [name]\nCN = localhost\n[more]\nsubjectAltName = DNS:localhost\n";
    fs_err::write(dir.join("config"), config).unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config", "config"])
        .args(["-keyout", "key", "-out", "cert"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn acceptor(dir: &Path) -> TlsAcceptor {
    let cert = CertificateDer::from_pem_file(dir.join("cert")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Through a gateway that shows that certificate.
async fn reach(dir: &Path) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let number = listener.local_addr().unwrap().port();
    let service = Service::start_with(22, Some(acceptor(dir))).await;
    let port = InstancePort::new(service, "i-0123456789abcdef0", number);
    let mut stream = port.open().await.map_err(|kind| kind.to_string())?;
    let (mut server, _) = listener.accept().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn the_gateway_is_trusted_by_the_systems_roots() {
    #[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
    if let Some(dir) = std::env::var_os(FOLDER) {
        println!("{:?}", reach(Path::new(&dir)).await);
        return;
    }
    if Command::new("openssl").arg("version").output().is_err() {
        forno_testing::skip("openssl is missing (Debian package openssl)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (known, other) = (dir.path().join("known"), dir.path().join("other"));
    certificate(&known);
    certificate(&other);
    let says = |roots: &Path| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("tls::the_gateway_is_trusted_by_the_systems_roots")
            .env(FOLDER, &known)
            .env("SSL_CERT_FILE", roots)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let trusted = says(&known.join("cert"));
    assert!(trusted.contains("Ok(())"), "{trusted}");
    let refused = says(&other.join("cert"));
    assert!(
        refused.contains("cannot trust the gateway localhost:") && refused.contains("certificate"),
        "{refused}"
    );
    let none = says(Path::new("/dev/null"));
    assert!(none.contains("no root certificates"), "{none}");
}
