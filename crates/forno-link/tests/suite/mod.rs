//! What holds for every kind of link is asked of each of them.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::path::PathBuf;
use std::sync::Arc;

use forno_link::Link;
use forno_link::testing::{self, run_command};

/// This computer, and a way to it.
pub(crate) struct Site {
    link: Arc<dyn Link>,
    dir: PathBuf,
    pub(crate) user: String,
    _machine: Box<dyn Send>,
}

impl Site {
    /// None where there is no sshd.
    pub(crate) async fn over_ssh() -> Option<Self> {
        let server = match testing::sshd().await {
            Ok(server) => server,
            Err(reason) => {
                forno_testing::skip(reason);
                return None;
            }
        };
        Some(Self {
            link: server.link().await,
            dir: server.dir().to_owned(),
            user: server.user.clone(),
            _machine: Box::new(server),
        })
    }

    pub(crate) async fn over_run_command() -> Option<Self> {
        let machine = run_command::Machine::new().await;
        let link = machine.link().await;
        Some(Self {
            user: link.user().to_owned(),
            link,
            dir: machine.dir().to_owned(),
            _machine: Box::new(machine),
        })
    }

    pub(crate) fn link(&self) -> Arc<dyn Link> {
        Arc::clone(&self.link)
    }

    /// A name that no other process has.
    pub(crate) fn mark(&self, what: &str) -> String {
        let dir = self.dir.file_name().unwrap().to_string_lossy();
        format!("forno-{what}-{}", dir.trim_start_matches('.'))
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }
}

/// Has each function, which takes a [`Site`], run as a test over every link.
#[macro_export]
macro_rules! over_every_link {
    ($($name:ident)*) => {
        over_every_link!(over_ssh: $($name)*);
        over_every_link!(over_run_command: $($name)*);
    };
    ($kind:ident: $($name:ident)*) => {
        mod $kind {
            $(
                #[tokio::test]
                async fn $name() {
                    if let Some(site) = super::Site::$kind().await {
                        super::$name(site).await;
                    }
                }
            )*
        }
    };
}
