//! One Describe call for everybody who asks at the same time.
//!
//! N bakes in one process wait for N machines. Polling each by itself multiplies the
//! calls by N, and EC2 throttles by account: then all of them wait longer. So askers
//! queue up here, and a task answers all of them with one call, never closer to the
//! previous call than a given spacing. A lone asker is answered at once.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{Error, Kind};

/// EC2 takes at most 200 values per filter.
const MOST_PER_CALL: usize = 200;

/// For askers who come together (bakes started by one command) to be served
/// together.
const LINGER: Duration = Duration::from_millis(5);

type Reply<V> = oneshot::Sender<Result<Option<V>, Error>>;

/// The end that asks.
pub(crate) struct Batcher<K, V> {
    questions: mpsc::UnboundedSender<(K, Reply<V>)>,
}

impl<K, V> Batcher<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + 'static,
{
    /// Starts the task; it ends when the batcher is dropped.
    pub(crate) fn start<D, F>(spacing: Duration, describe: D) -> Self
    where
        D: Fn(Vec<K>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<(K, V)>, Error>> + Send + 'static,
    {
        let (questions, inbox) = mpsc::unbounded_channel();
        tokio::spawn(answer(inbox, spacing, describe));
        Self { questions }
    }

    pub(crate) async fn get(&self, key: K) -> Result<Option<V>, Error> {
        let stopped = || Error::local(Kind::Other, "describing", "", "the describer has stopped");
        let (reply, answer) = oneshot::channel();
        self.questions.send((key, reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

async fn answer<K, V, D, F>(
    mut inbox: mpsc::UnboundedReceiver<(K, Reply<V>)>,
    spacing: Duration,
    describe: D,
) where
    K: Clone + Eq + Hash,
    V: Clone,
    D: Fn(Vec<K>) -> F,
    F: Future<Output = Result<Vec<(K, V)>, Error>>,
{
    let mut not_before = Instant::now();
    while let Some((key, reply)) = inbox.recv().await {
        let mut askers: HashMap<K, Vec<Reply<V>>> = HashMap::new();
        askers.entry(key).or_default().push(reply);
        tokio::time::sleep_until(not_before.max(Instant::now() + LINGER)).await;
        while let Ok((key, reply)) = inbox.try_recv() {
            askers.entry(key).or_default().push(reply);
        }
        // Whoever gave up meanwhile needs no answer.
        askers.retain(|_, replies| {
            replies.retain(|reply| !reply.is_closed());
            !replies.is_empty()
        });

        let keys: Vec<K> = askers.keys().cloned().collect();
        for keys in keys.chunks(MOST_PER_CALL) {
            not_before = Instant::now() + spacing;
            let found = describe(keys.to_vec()).await;
            let found = found.map(|found| found.into_iter().collect::<HashMap<K, V>>());
            for key in keys {
                let answer = match &found {
                    Ok(found) => Ok(found.get(key).cloned()),
                    Err(error) => Err(error.clone()),
                };
                for reply in askers.remove(key).into_iter().flatten() {
                    // An asker who has just gone away is no matter.
                    let _ = reply.send(answer.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    type Calls = Arc<Mutex<Vec<Vec<u32>>>>;

    fn recording(calls: &Calls) -> Batcher<u32, String> {
        let calls = Arc::clone(calls);
        Batcher::start(Duration::ZERO, move |mut keys: Vec<u32>| {
            keys.sort_unstable();
            calls.lock().unwrap().push(keys.clone());
            async move {
                Ok(keys
                    .into_iter()
                    .filter(|key| key % 2 == 0)
                    .map(|key| (key, format!("value {key}")))
                    .collect())
            }
        })
    }

    #[tokio::test]
    async fn everybody_gets_the_answer_to_the_own_question() {
        let calls = Calls::default();
        let batcher = recording(&calls);
        assert_eq!(batcher.get(2).await.unwrap(), Some("value 2".to_owned()));
        assert_eq!(batcher.get(3).await.unwrap(), None);
        assert_eq!(*calls.lock().unwrap(), [vec![2], vec![3]]);
    }

    #[tokio::test]
    async fn askers_during_a_call_share_the_next_one() {
        let calls = Calls::default();
        let gate = Arc::new(Semaphore::new(0));
        let entered = Arc::new(Semaphore::new(0));
        let batcher = {
            let (calls, gate, entered) = (calls.clone(), gate.clone(), entered.clone());
            Arc::new(Batcher::start(Duration::ZERO, move |mut keys: Vec<u32>| {
                let (gate, entered) = (gate.clone(), entered.clone());
                keys.sort_unstable();
                calls.lock().unwrap().push(keys.clone());
                async move {
                    entered.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                    Ok(keys.into_iter().map(|key| (key, key)).collect())
                }
            }))
        };
        let ask = |key: u32| {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { batcher.get(key).await.unwrap() })
        };
        let first = ask(0);
        entered.acquire().await.unwrap().forget();
        // While the first call hangs, five more come, one of them twice.
        let rest: Vec<_> = [1, 2, 3, 4, 5, 5].into_iter().map(ask).collect();
        while batcher.questions.strong_count() > 1 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(10);
        assert_eq!(first.await.unwrap(), Some(0));
        for (task, expected) in rest.into_iter().zip([1, 2, 3, 4, 5, 5]) {
            assert_eq!(task.await.unwrap(), Some(expected));
        }
        assert_eq!(*calls.lock().unwrap(), [vec![0], vec![1, 2, 3, 4, 5]]);
    }

    #[tokio::test]
    async fn more_than_fit_into_a_call_make_several() {
        let calls = Calls::default();
        let batcher = Arc::new(recording(&calls));
        let tasks: Vec<_> = (0..450)
            .map(|key| {
                let batcher = Arc::clone(&batcher);
                tokio::spawn(async move { batcher.get(key).await.unwrap() })
            })
            .collect();
        for (key, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().is_some(), key % 2 == 0);
        }
        let calls = calls.lock().unwrap();
        assert!(calls.iter().all(|keys| keys.len() <= MOST_PER_CALL));
        assert_eq!(calls.iter().map(Vec::len).sum::<usize>(), 450);
    }

    #[tokio::test]
    async fn an_error_reaches_every_asker() {
        let batcher: Batcher<u32, ()> = Batcher::start(Duration::ZERO, |_| async {
            Err(Error::local(
                Kind::Throttled,
                "DescribeX",
                "here",
                "slow down",
            ))
        });
        let (a, b) = tokio::join!(batcher.get(1), batcher.get(2));
        assert_eq!(a.unwrap_err().kind(), Kind::Throttled);
        assert_eq!(b.unwrap_err().kind(), Kind::Throttled);
    }
}
