//! Links and streams through sessions, over a real websocket to a real sshd.

mod agent;

mod links;
mod service;
mod streams;
mod tls;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forno_link::ssm::InstancePort;
use service::Service;

/// A service whose port 22 is that one, and the way through it.
async fn site(sshd: u16) -> (Arc<Service>, InstancePort) {
    let service = Service::start(sshd).await;
    let mut port = InstancePort::new(service.clone(), "i-0123456789abcdef0", 22);
    // In more of a hurry than with AWS.
    port.settings.backoff = (Duration::from_millis(50), Duration::from_millis(200));
    port.settings.linger = Duration::from_millis(500);
    (service, port)
}

/// Whether the agents were told that it is over.
fn all_told(service: &Service) -> bool {
    let seen = service.seen.lock().unwrap();
    seen.iter().all(|s| s.terminated.load(Ordering::Relaxed))
}
