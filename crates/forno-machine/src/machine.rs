//! The handle to one machine, whatever its kind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::inside::{self, Running, Script};
use crate::run::{Order, Shared};
use crate::{Error, ErrorKind, Kind, OffReason, PortStream, Status, dial};

/// A machine. Dropping the handle does not stop it; its host does, or
/// [`Machine::kill`].
#[derive(Debug, Clone)]
pub struct Machine {
    shared: Arc<Shared>,
}

impl Machine {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The id from its specification.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Whether both are handles to one machine.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.shared.kind
    }

    /// Where its SSH server answers: port 22 when this process may bind it,
    /// otherwise a free high port. Fixed for the machine's life.
    pub fn ssh_address(&self) -> SocketAddr {
        self.shared.ssh
    }

    /// Connects to a TCP port on the machine's own loopback, as a program inside
    /// it would. A port on which nothing listens is [`ErrorKind::Refused`]. Port
    /// 22 of a stub is its SSH server, any other one of this computer; virtual
    /// machines have no such way in.
    pub async fn dial(&self, port: u16) -> Result<PortStream, Error> {
        if let Status::Off(reason) = &*self.shared.status.borrow() {
            return Err(Error::new(
                ErrorKind::Network,
                format!("{} has no ports: it is {reason}", self.id()),
            ));
        }
        match self.kind() {
            Kind::Container => dial::through(&self.shared.dir, port).await,
            Kind::Stub => dial::directly(self.shared.ssh, port).await,
            Kind::Vm => Err(Error::new(
                ErrorKind::Unusable,
                "the loopback of a virtual machine cannot be reached from outside",
            )),
        }
    }

    /// What its console has shown since the launch (the last 4 MiB at most).
    pub fn console(&self) -> Vec<u8> {
        self.shared.console.tail()
    }

    /// Its life, as a value to watch.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// How often its guest has begun to run, as a value to watch: whoever looks
    /// at the status alone may miss a restart.
    pub fn boots(&self) -> watch::Receiver<u64> {
        self.shared.boots.clone()
    }

    /// Waits until the console shows that the guest is up (its login prompt),
    /// for the present boot. Returns early with `false` when the machine is off.
    /// A hint, free of load on the guest; some guests never show it.
    pub async fn booted(&self) -> bool {
        let mut status = self.status();
        loop {
            match *status.borrow_and_update() {
                Status::Off(_) => return false,
                Status::Running if !self.shared.has_login || self.shared.console.shows_login() => {
                    return true;
                }
                _ => {}
            }
            // The console is a file; looking costs a stat and a short read.
            drop(timeout(Duration::from_millis(100), status.changed()).await);
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether something inside can be asked to run scripts.
    pub fn has_agent(&self) -> bool {
        self.shared.kind != Kind::Vm
    }

    /// Runs a script as root inside, as an agent of the machine's own would.
    /// Refused while the guest does not run, and by virtual machines.
    pub async fn run(&self, script: Script) -> Result<Running, Error> {
        let inside = self.shared.inside.borrow().clone();
        let inside = inside.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("nothing can be run in {} now", self.id()),
            )
        })?;
        inside::run(inside, script).await
    }

    /// Asks the guest to power off, waits until it is off and returns why it
    /// ended. After `patience` it is killed.
    pub async fn power_off(&self, patience: Duration) -> OffReason {
        self.order(Order::PowerOff);
        match timeout(patience, self.off()).await {
            Ok(reason) => reason,
            Err(_) => self.kill().await,
        }
    }

    /// Ends it now; returns when it is off.
    pub async fn kill(&self) -> OffReason {
        self.order(Order::Kill);
        self.off().await
    }

    /// Asks the guest to restart and returns at once. The status shows
    /// [`Status::Rebooting`] when the guest has gone down.
    #[expect(clippy::unused_async, reason = "asking may come to need an answer")]
    pub async fn reboot(&self) -> Result<(), Error> {
        if let Status::Off(reason) = &*self.shared.status.borrow() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{} cannot restart: it is {reason}", self.id()),
            ));
        }
        self.order(Order::Reboot);
        Ok(())
    }

    /// Waits until it is off.
    pub async fn off(&self) -> OffReason {
        let mut status = self.status();
        match status
            .wait_for(|s| matches!(s, Status::Off(_)))
            .await
            .as_deref()
        {
            Ok(Status::Off(reason)) => reason.clone(),
            _ => OffReason::Failed("its supervision broke off".to_owned()),
        }
    }

    pub(crate) fn order_kill(&self) {
        self.order(Order::Kill);
    }

    fn order(&self, order: Order) {
        // A machine whose task has ended is off, which callers wait for.
        let _ = self.shared.orders.send(order);
    }
}
