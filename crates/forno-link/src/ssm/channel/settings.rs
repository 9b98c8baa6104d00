//! The numbers of a channel.

use std::time::Duration;

/// All have a default that suits AWS; tests are in more of a hurry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most bytes in one message. Agents take 8 KiB and more at a time.
    pub chunk: usize,
    /// The most messages on their way.
    pub window: usize,
    /// From the start of the session until the agent is ready.
    pub open: Duration,
    /// Between signs of life on an idle connection, and the silence after which it
    /// is dead.
    pub ping: Duration,
    pub dead: Duration,
    /// How long a lost connection is looked for again.
    pub resume: Duration,
    /// Between two looks: at first, and at most.
    pub backoff: (Duration, Duration),
    /// How long the gateway may say that the agent is away.
    pub pause: Duration,
    /// How often one message is sent again. With the cap of one second between two
    /// that is five minutes.
    pub repeats: u32,
    /// For what is left to be sent when the stream is dropped, and for each step of
    /// the goodbye.
    pub goodbye: Duration,
    /// After the writer has ended: how long the machine's answer may keep silent.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chunk: 8 * 1024,
            window: 256,
            open: Duration::from_mins(1),
            ping: Duration::from_secs(30),
            dead: Duration::from_mins(2),
            resume: Duration::from_mins(5),
            backoff: (Duration::from_millis(500), Duration::from_secs(15)),
            pause: Duration::from_mins(5),
            repeats: 300,
            goodbye: Duration::from_secs(3),
            linger: Duration::from_secs(5),
        }
    }
}
