//! The plan in force, and what it has seen: each entry's count of calls, the
//! buckets, the hidden ids, and the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bucket::Bucket;
use super::channel::ChannelFault;
use super::log::{Asked, CallRecord, Log, Reply, ServiceName, Ticket};
use super::marks::Marks;
use super::plan::{Ending, Fault, FaultPlan, InjectedError, Moment};
use super::veil::{Veil, Veiled};
use crate::state::world::World;

/// The plan in force.
#[derive(Debug)]
pub(crate) struct Regime {
    /// How long what any call makes cannot be seen.
    hidden: Duration,
    state: Mutex<State>,
    /// How often each entry has struck, in the order of the plan.
    struck: watch::Sender<Vec<u64>>,
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    /// How many calls each entry has counted.
    seen: Vec<u64>,
    /// How many connections each entry for channels has counted.
    seen_channels: Vec<u64>,
    buckets: Vec<Bucket>,
    lifted: CancellationToken,
    veil: Veil,
    log: Log,
}

/// What a call is to suffer.
#[derive(Debug)]
pub(crate) struct Met {
    ticket: Ticket,
    entries: Vec<usize>,
    pub(crate) latency: Duration,
    pub(crate) strike: Strike,
    pub(crate) marks: Marks,
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Strike {
    /// With the reply to its work.
    None,
    /// With this instead.
    Refuse(InjectedError),
    Reset(Moment),
    Hang(Moment),
}

impl Regime {
    pub(crate) fn new(plan: FaultPlan, hidden: Duration) -> Self {
        let regime = Self {
            hidden,
            state: Mutex::new(State {
                plan: FaultPlan::default(),
                seen: Vec::new(),
                seen_channels: Vec::new(),
                buckets: Vec::new(),
                lifted: CancellationToken::new(),
                veil: Veil::default(),
                log: Log::default(),
            }),
            struck: watch::Sender::new(Vec::new()),
        };
        regime.set(plan);
        regime
    }

    /// Puts a plan in force. What the old one hid is seen, what it held comes
    /// loose, and counting begins anew.
    pub(crate) fn set(&self, plan: FaultPlan) {
        let mut state = self.lock();
        let now = Instant::now();
        state.lifted.cancel();
        state.lifted = CancellationToken::new();
        state.veil.lift();
        state.seen = vec![0; plan.faults.len()];
        state.seen_channels = vec![0; plan.channels.len()];
        state.buckets = plan
            .throttles
            .iter()
            .map(|throttle| Bucket::new(throttle.burst, throttle.rate, now))
            .collect();
        self.struck.send_replace(vec![0; plan.faults.len()]);
        state.plan = plan;
    }

    pub(crate) fn plan(&self) -> FaultPlan {
        self.lock().plan.clone()
    }

    /// Counts a call, enters it in the log, and says what it is to suffer.
    pub(crate) fn meet(&self, asked: &Asked) -> Met {
        self.meet_at(asked, Instant::now())
    }

    fn meet_at(&self, asked: &Asked, now: Instant) -> Met {
        let mut state = self.lock();
        let state = &mut *state;
        if state.throttled(asked, now) {
            return Met {
                ticket: state.log.enter(asked, Vec::new()),
                entries: Vec::new(),
                latency: Duration::ZERO,
                strike: Strike::Refuse(too_many(asked.service)),
                marks: Marks::default(),
            };
        }
        let entries = state.struck_by(asked);
        let faults = || entries.iter().map(|index| &state.plan.faults[*index]);
        let strike = faults().find_map(strike).unwrap_or(Strike::None);
        let latency = faults().map(|fault| fault.latency).sum();
        let marks = Marks {
            hide: faults()
                .map(|fault| fault.hide)
                .fold(self.hidden, Duration::max),
            then: faults()
                .flat_map(|fault| fault.then.iter().map(|then| (then.clone(), fault.after)))
                .collect(),
            lifted: state.lifted.clone(),
        };
        let shown = entries.iter().map(|index| index + 1).collect();
        Met {
            ticket: state.log.enter(asked, shown),
            entries,
            latency,
            strike,
            marks,
        }
    }

    /// Notes what became of a call, then tells those who wait for a strike.
    pub(crate) fn settle(&self, met: &Met, work: Option<Result<(), &str>>, reply: Reply) {
        let mut state = self.lock();
        state.log.settle(met.ticket, work, reply);
        // A call of an earlier plan is nothing to those who watch this one.
        if met.entries.is_empty() || met.marks.lifted.is_cancelled() {
            return;
        }
        self.struck.send_modify(|struck| {
            for index in &met.entries {
                if let Some(count) = struck.get_mut(*index) {
                    *count += 1;
                }
            }
        });
    }

    /// Returns once an entry, counted from 1, has struck so many times.
    pub(crate) async fn struck(&self, entry: usize, times: u64) {
        let mut struck = self.struck.subscribe();
        let enough = |struck: &Vec<u64>| {
            entry
                .checked_sub(1)
                .and_then(|index| struck.get(index))
                .is_some_and(|count| *count >= times)
        };
        // The sender lives as long as this, so the wait cannot break off.
        let _ = struck.wait_for(enough).await;
    }

    /// Counts a connection to a data channel, and says what happens on it.
    pub(crate) fn channel(&self, parameters: &BTreeMap<String, String>) -> Vec<ChannelFault> {
        let mut state = self.lock();
        let State {
            plan,
            seen_channels,
            ..
        } = &mut *state;
        let mut struck = Vec::new();
        for (fault, seen) in plan.channels.iter().zip(seen_channels) {
            if fault.matches(parameters) {
                *seen += 1;
                if fault.calls.contains(*seen) {
                    struck.push(fault.clone());
                }
            }
        }
        struck
    }

    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        self.lock().log.records()
    }

    pub(crate) fn clear_calls(&self) {
        self.lock().log.clear();
    }

    /// The world as an action may see it.
    pub(crate) fn veil<'a>(
        &self,
        world: &'a mut World,
        region: &'static str,
        action: &str,
    ) -> Veiled<'a> {
        let hidden = self.lock().veil.hidden_from(action, Instant::now());
        Veiled::new(world, region, &hidden)
    }

    /// Hides what a call has made.
    pub(crate) fn hide(&self, ids: impl IntoIterator<Item = String>, span: Duration) {
        self.lock().veil.hide(ids, Instant::now() + span);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a bucket is empty. A call that one bucket refuses takes nothing
    /// from those after it.
    fn throttled(&mut self, asked: &Asked, now: Instant) -> bool {
        self.plan
            .throttles
            .iter()
            .zip(&mut self.buckets)
            .any(|(throttle, bucket)| {
                throttle.action.matches(asked.service, &asked.action) && !bucket.take(now)
            })
    }

    /// The entries that strike a call; all that match it count it.
    fn struck_by(&mut self, asked: &Asked) -> Vec<usize> {
        let mut struck = Vec::new();
        for (index, (fault, seen)) in self.plan.faults.iter().zip(&mut self.seen).enumerate() {
            if fault.matches(asked) {
                *seen += 1;
                if fault.calls.contains(*seen) {
                    struck.push(index);
                }
            }
        }
        struck
    }
}

fn strike(fault: &Fault) -> Option<Strike> {
    match &fault.ending {
        Ending::Reply => None,
        Ending::Error(error) => Some(Strike::Refuse(error.clone())),
        Ending::Reset(moment) => Some(Strike::Reset(*moment)),
        Ending::Hang(moment) => Some(Strike::Hang(*moment)),
    }
}

/// How each service says that calls come too often.
fn too_many(service: ServiceName) -> InjectedError {
    let (code, message) = match service {
        ServiceName::Ec2 => ("RequestLimitExceeded", "Request limit exceeded."),
        ServiceName::Ebs => ("RequestThrottledException", "Rate exceeded"),
        ServiceName::Iam | ServiceName::Sts => ("Throttling", "Rate exceeded"),
        ServiceName::Ssm | ServiceName::SsmMessages => ("ThrottlingException", "Rate exceeded"),
        ServiceName::S3 => ("SlowDown", "Please reduce your request rate."),
    };
    InjectedError {
        message: message.to_owned(),
        ..InjectedError::new(code)
    }
}

#[cfg(test)]
mod tests {
    use super::super::actions::Actions;
    use super::super::plan::{Then, Throttle};
    use super::*;

    fn regime(plan: FaultPlan) -> Regime {
        Regime::new(plan, Duration::ZERO)
    }

    fn asked(action: &str) -> Asked {
        Asked {
            service: ServiceName::Ec2,
            region: "us-east-1",
            action: action.to_owned(),
            parameters: std::collections::BTreeMap::new(),
            request_id: String::new(),
        }
    }

    #[test]
    fn each_entry_counts_for_itself() {
        let regime = regime(FaultPlan::of([
            Fault::of("CreateTags").calls([2]).error("InternalError"),
            Fault::of("*").calls([3]).hang(Moment::Before),
        ]));
        let mut strikes = ["RunInstances", "CreateTags", "CreateTags", "CreateTags"]
            .map(|action| regime.meet(&asked(action)).strike)
            .into_iter();
        assert_eq!(strikes.next(), Some(Strike::None));
        assert_eq!(strikes.next(), Some(Strike::None));
        let error = InjectedError::new("InternalError");
        assert_eq!(strikes.next(), Some(Strike::Refuse(error)));
        assert_eq!(strikes.next(), Some(Strike::None));
        let faults: Vec<_> = regime.calls().into_iter().map(|call| call.faults).collect();
        assert_eq!(faults, [vec![], vec![], vec![1, 2], vec![]]);
    }

    #[test]
    fn entries_that_strike_one_call_work_together() {
        let second = Duration::from_secs(1);
        let regime = regime(FaultPlan::of([
            Fault::of("Run*").latency(second).hide(second),
            Fault::of("RunInstances")
                .latency(second)
                .reset(Moment::After),
            Fault::of("*").hang(Moment::Before).hide(2 * second),
            Fault::of("*").then(Then::StuckPending),
        ]));
        let met = regime.meet(&asked("RunInstances"));
        assert_eq!(met.latency, 2 * second);
        assert_eq!(met.strike, Strike::Reset(Moment::After));
        assert_eq!(met.marks.hide, 2 * second);
        let stuck = met.marks.stuck(&Then::StuckPending).unwrap();
        assert!(met.marks.stuck(&Then::StuckStopping).is_none());
        regime.set(FaultPlan::default());
        assert!(stuck.is_cancelled(), "a new plan lets go");
    }

    #[tokio::test]
    async fn a_strike_can_be_waited_for() {
        let regime = regime(FaultPlan::of([Fault::of("*").every().hang(Moment::After)]));
        let both = async {
            for _ in 0..2 {
                let met = regime.meet(&asked("RunInstances"));
                regime.settle(&met, Some(Ok(())), Reply::Held);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(regime.struck(1, 2), both);
        let late = regime.meet(&asked("RunInstances"));
        regime.set(FaultPlan::of([Fault::of("*").every().hang(Moment::After)]));
        regime.settle(&late, None, Reply::Held);
        assert_eq!(*regime.struck.borrow(), [0], "of the plan before");
    }

    #[test]
    fn throttled_calls_count_for_nothing_else() {
        let mut plan = FaultPlan::of([Fault::of("*").calls([2]).error("InternalError")]);
        plan.throttles.push(Throttle {
            action: Actions::new("Describe*"),
            burst: 1,
            rate: 1.0,
        });
        let regime = regime(plan);
        let start = Instant::now();
        let code = |seconds, action| match regime
            .meet_at(&asked(action), start + Duration::from_secs(seconds))
            .strike
        {
            Strike::Refuse(error) => error.code,
            _ => String::new(),
        };
        assert_eq!(code(0, "DescribeImages"), "");
        assert_eq!(code(0, "DescribeInstances"), "RequestLimitExceeded");
        assert_eq!(code(0, "RunInstances"), "InternalError");
        assert_eq!(code(0, "DescribeInstances"), "RequestLimitExceeded");
        assert_eq!(code(2, "DescribeInstances"), "");
    }
}
