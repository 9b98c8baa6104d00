//! The stream by itself: whole and in order whatever the way does, bounded, and
//! with a reason when it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forno_link::ErrorKind;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::service::Faults;
use crate::{all_told, site};

const MIB: usize = 1024 * 1024;

/// Bytes that are told apart by where they are.
fn block(at: usize) -> Vec<u8> {
    let mut word = Sha256::digest(at.to_be_bytes()).to_vec();
    while word.len() < 64 * 1024 {
        word.extend_from_within(..);
    }
    word
}

/// And the writer once more, because to drop it is to end.
async fn write_all<W: AsyncWrite + Unpin>(mut to: W, total: usize) -> W {
    for at in 0..total / (64 * 1024) {
        to.write_all(&block(at)).await.unwrap();
    }
    to.flush().await.unwrap();
    to
}

async fn read_all(mut from: impl AsyncRead + Unpin, total: usize) {
    let mut found = vec![0; 64 * 1024];
    for at in 0..total / (64 * 1024) {
        from.read_exact(&mut found).await.unwrap();
        assert!(found == block(at), "another block at {at}");
    }
}

/// Takes so much and gives so much, at once, and then waits to be left.
async fn server(total: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut read, write) = stream.into_split();
        let writing = tokio::spawn(write_all(write, total));
        read_all(&mut read, total).await;
        let _write = writing.await.unwrap();
        let mut rest = Vec::new();
        let _ = read.read_to_end(&mut rest).await;
    });
    address
}

#[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
fn soak() -> usize {
    let asked = std::env::var("FORNO_SOAK_MB").ok();
    asked.map_or(32, |mib| mib.parse().unwrap()) * MIB
}

fn status(field: &str) -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Voluntary switches of all threads, and the processor's time.
fn work() -> (u64, Duration) {
    let mut switches = 0;
    for entry in fs_err::read_dir("/proc/self/task").unwrap().flatten() {
        let status = fs_err::read_to_string(entry.path().join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find(|l| l.starts_with("voluntary"))
            .unwrap_or_default();
        switches += line
            .split_whitespace()
            .nth(1)
            .map_or(0, |n| n.parse().unwrap());
    }
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |at: usize| -> u64 { fields.split_whitespace().nth(at).unwrap().parse().unwrap() };
    (
        switches,
        Duration::from_millis(10 * (ticks(11) + ticks(12))),
    )
}

/// Both ways at once, and how fast.
async fn transfer(total: usize, faults: Faults) -> (f64, usize) {
    let server = server(total).await;
    let (service, mut port) = site(22).await;
    service.set_faults(faults);
    port.port = server.port();
    let stream = port.open().await.unwrap();
    let started = Instant::now();
    let (read, write) = tokio::io::split(stream);
    let writing = tokio::spawn(write_all(write, total));
    read_all(read, total).await;
    drop(writing.await.unwrap());
    let taken = started.elapsed().as_secs_f64();
    service.until_no_session().await;
    let resumed = service.resumed.load(Ordering::Relaxed);
    #[expect(clippy::cast_precision_loss, reason = "it is printed")]
    let speed = (total / MIB) as f64 / taken;
    (speed, resumed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_way() {
    let (speed, resumed) = transfer(8 * MIB, Faults::default()).await;
    println!("good way: {speed:.1} MiB/s each way at once");
    assert_eq!(resumed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_is_closed_again_and_again() {
    let faults = Faults {
        close_after: Some(8000),
        ..Faults::default()
    };
    let (speed, resumed) = transfer(8 * MIB, faults).await;
    println!("closed {resumed} times: {speed:.1} MiB/s each way at once");
    assert!(resumed > 0);
}

/// The size is set by `FORNO_SOAK_MB`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soaked() {
    let before = status("VmHWM");
    let total = soak();
    let faults = Faults {
        lost: 10,
        doubled: 10,
        swapped: 10,
        close_after: Some(30_000),
    };
    let (speed, resumed) = transfer(total, faults).await;
    println!(
        "soaked {} MiB each way, 1 % lost, closed {resumed} times: {speed:.2} MiB/s; \
         peak memory {} MiB, {} MiB before",
        total / MIB,
        status("VmHWM") / 1024,
        before / 1024,
    );
}

/// A reader that is away holds the server back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_is_not_taken_in() {
    const TOTAL: usize = 16 * MIB;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    let given = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&given);
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for at in 0..TOTAL / (64 * 1024) {
            stream.write_all(&block(at)).await.unwrap();
            count.fetch_add(64 * 1024, Ordering::Relaxed);
        }
        stream
    });
    let mut stream = port.open().await.unwrap();
    let mut last = u64::MAX;
    while given.load(Ordering::Relaxed) != last {
        last = given.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    println!("a reader that is away: {last} bytes on their way");
    assert!(last < 12 * MIB as u64, "{last}");
    read_all(&mut stream, TOTAL).await;
    drop(serving.await.unwrap());
    // The server's end is the stream's.
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(service.resumed.load(Ordering::Relaxed), 0);
    drop(stream);
    service.until_no_session().await;
}

/// Nothing to be seen but a look at the clock, when a ping is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_sleeps() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    let mut stream = port.open().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (switches, used) = work();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (after, used_after) = work();
    println!(
        "idle for 3 s: {} wakeups and {} ms of processor in this process, with the other end and other tests",
        after.saturating_sub(switches),
        used_after.saturating_sub(used).as_millis(),
    );
    stream.write_all(b"again").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test]
async fn a_port_on_which_nothing_listens() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let number = closed.local_addr().unwrap().port();
    drop(closed);
    let (service, mut port) = site(22).await;
    port.port = number;
    // Known at once, or a moment later.
    let refused = match port.open().await {
        Err(kind) => matches!(kind, ErrorKind::Refused),
        Ok(mut stream) => {
            let error = stream.read(&mut [0]).await.unwrap_err();
            error.kind() == std::io::ErrorKind::ConnectionRefused
                && error.to_string().contains("nothing listens on that port")
        }
    };
    assert!(refused);
    service.until_no_session().await;
}

#[tokio::test]
async fn the_service_says_why_it_ends_a_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    let mut stream = port.open().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"last words").await.unwrap();
    stream.read_exact(&mut [0; 4]).await.unwrap();
    service.end_sessions("Session idle for 20 minutes");
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(rest, b" words");
    assert_eq!(
        error.to_string(),
        "the session's data channel failed: the session was ended: Session idle for 20 minutes"
    );
    let error = stream.write_all(b"x").await.unwrap_err();
    assert!(error.to_string().contains("idle for 20 minutes"), "{error}");
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_given_up_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    port.settings.resume = Duration::from_millis(700);
    let mut stream = port.open().await.unwrap();
    service.dead.cancel();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the session's data channel failed: the connection was lost and not found again within 700 ms: ResumeSession: no route to host"
    );
}

#[tokio::test]
async fn a_session_that_is_over_is_not_looked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    let mut stream = port.open().await.unwrap();
    service.forget_sessions();
    service.bye();
    let error = stream.read(&mut [0]).await.unwrap_err().to_string();
    assert!(
        error.contains("closed by the gateway: 1000 Bye") && error.contains("DoesNotExist"),
        "{error}"
    );
}

/// What was written before the stream was dropped arrives, and the session ends,
/// with the agent told.
#[tokio::test]
async fn a_dropped_stream_delivers_and_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    let mut stream = port.open().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    stream.write_all(&block(0)).await.unwrap();
    drop(stream);
    let mut all = Vec::new();
    server.read_to_end(&mut all).await.unwrap();
    assert!(all == block(0));
    service.until_no_session().await;
    assert_eq!(*service.terminated.lock().unwrap(), ["forno-0"]);
    assert!(all_told(&service));
}

/// One that hangs up does not wait.
#[tokio::test]
async fn hanging_up_ends_a_stream_that_somebody_else_holds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    let mut stream = port.open().await.unwrap();
    let (_server, _) = listener.accept().await.unwrap();
    stream.hangup().hang_up();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    service.until_no_session().await;
    assert!(all_told(&service));
}

/// Whenever the opening is not waited for any more, no session stays.
#[tokio::test]
async fn a_session_that_nobody_waits_for_is_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    for wait in [0, 200, 500, 1000, 2000, 4000] {
        let opening = tokio::time::timeout(Duration::from_micros(wait), port.open());
        drop(opening.await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.until_no_session().await;
}

/// Half of a connection cannot be closed: the answer is read to its end.
#[tokio::test]
async fn an_answer_is_read_after_the_question_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, mut port) = site(22).await;
    port.port = listener.local_addr().unwrap().port();
    let mut stream = port.open().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    server.read_exact(&mut [0; 8]).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    service.until_no_session().await;
}
