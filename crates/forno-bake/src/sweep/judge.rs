//! What is spared, and why: decided from what is known about a thing, without
//! asking anybody. All doubt is for sparing.

use std::time::Duration;

use forno_aws::Tags;
use forno_events::BakeId;
use jiff::{SignedDuration, Timestamp};

use super::{Known, Standing};
use crate::bake::IMAGE;
use crate::names;

/// What a sweep may do to a thing with forno's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its bake lives here, or has it in its ledger.
    Known,
    Spared(String),
    Forgotten {
        bake: BakeId,
        /// Why it counts as such.
        reason: String,
    },
}

/// What all things of one sweep are judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    pub(super) known: &'a Known,
    pub(super) now: Timestamp,
    /// Bakes that began less than this ago are too young.
    pub(super) older_than: Option<Duration>,
}

impl Judge<'_> {
    /// `user` is what else uses the thing, or why that cannot be told.
    pub(super) fn of(&self, kind: &str, tags: &Tags, user: Option<&str>) -> Verdict {
        let spared = |why: String| Verdict::Spared(why);
        if tags.get(names::FINISHED).is_some() {
            return spared("it is a finished image, or of one".to_owned());
        }
        let bake = tags.get(names::BAKE).map(str::parse::<BakeId>);
        let Some(Ok(bake)) = bake else {
            return spared(format!("its tag {} names no bake", names::BAKE));
        };
        let reason = match self.known.get(&bake) {
            Some(Standing::Untouched) => return Verdict::Known,
            Some(Standing::Over { image_stays: true }) if kind == IMAGE => return Verdict::Known,
            Some(Standing::Over { .. }) => "its bake is over, and does not know of it".to_owned(),
            None => {
                let expires = tags.get(names::EXPIRES).map(str::parse::<Timestamp>);
                let Some(Ok(expires)) = expires else {
                    return spared(format!("its tag {} holds no time", names::EXPIRES));
                };
                if expires > self.now {
                    return spared(format!(
                        "its bake may be running on another machine, until {expires} at the latest"
                    ));
                }
                format!("its time was over at {expires}")
            }
        };
        if let Some(why) = self.too_young(&bake) {
            return spared(why);
        }
        match user {
            Some(user) => spared(user.to_owned()),
            None => Verdict::Forgotten { bake, reason },
        }
    }

    /// Why a bake is too young to be touched.
    pub(super) fn too_young(&self, bake: &BakeId) -> Option<String> {
        let limit = self.older_than?;
        let began = bake.began();
        (!is_past(began, limit, self.now)).then(|| format!("its bake began at {began}"))
    }

    /// What a sweep may do to a thing that Packer named: why it goes, or why not.
    /// `users` are living machines that use it and stay.
    pub(super) fn of_packer(
        &self,
        made: Option<Timestamp>,
        users: &[String],
    ) -> Result<String, String> {
        const FOR_A_BUILD: Duration = Duration::from_hours(24);
        let Some(made) = made else {
            return Err("when it was made cannot be told".to_owned());
        };
        if made > self.now {
            return Err(format!("it is dated {made}, which is yet to come"));
        }
        if !is_past(made, self.older_than.unwrap_or(FOR_A_BUILD), self.now) {
            return Err(format!(
                "it was made at {made}, and its build may be running"
            ));
        }
        match users {
            [] => Ok(format!("Packer made it at {made}")),
            users => Err(format!("in use by {}", users.join(", "))),
        }
    }
}

fn is_past(began: Timestamp, limit: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(limit).is_ok_and(|limit| now.duration_since(began) >= limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A bake and everything that `tags` may be varied from.
    fn forgotten() -> (BakeId, Tags) {
        let bake = BakeId::new("base");
        let tags = Tags::new()
            .with(names::BAKE, bake.as_str())
            .with(names::EXPIRES, "2020-01-01T00:00:00Z");
        (bake, tags)
    }

    #[test]
    fn what_is_spared_and_why() {
        let (bake, tags) = forgotten();
        let none = Known::new();
        let known: Known = [(bake.clone(), Standing::Untouched)].into();
        let over: Known = [(bake.clone(), Standing::Over { image_stays: false })].into();
        let finished: Known = [(bake.clone(), Standing::Over { image_stays: true })].into();
        let now = Timestamp::now();
        let judge = |known, older_than| Judge {
            known,
            now,
            older_than,
        };
        let usual = judge(&none, None);
        let hour = Some(Duration::from_hours(1));
        let running = tags.clone().with(names::EXPIRES, "2199-01-01T00:00:00Z");
        let table: [(&str, Judge<'_>, Tags, Option<&str>, &str); 11] = [
            (
                "forgotten",
                usual,
                tags.clone(),
                None,
                "its time was over at 2020-01-01T00:00:00Z",
            ),
            ("known", judge(&known, None), tags.clone(), None, "known"),
            (
                "over",
                judge(&over, None),
                running.clone(),
                None,
                "its bake is over, and does not know of it",
            ),
            (
                "its image",
                judge(&finished, None),
                running.clone(),
                None,
                "known",
            ),
            (
                "used",
                usual,
                tags.clone(),
                Some("i-1 runs from it"),
                "spared: i-1 runs from it",
            ),
            (
                "known and used",
                judge(&known, None),
                tags.clone(),
                Some("i-1"),
                "known",
            ),
            (
                "finished",
                usual,
                tags.clone().with(names::FINISHED, "2020-01-01T00:00:00Z"),
                None,
                "spared: it is a finished image, or of one",
            ),
            (
                "running",
                usual,
                running.clone(),
                None,
                "spared: its bake may be running on another machine, until 2199-01-01T00:00:00Z at the latest",
            ),
            (
                "no time",
                usual,
                tags.clone().with(names::EXPIRES, "soon"),
                None,
                "spared: its tag forno:expires holds no time",
            ),
            (
                "no bake",
                usual,
                tags.clone().with(names::BAKE, "mine"),
                None,
                "spared: its tag forno:bake names no bake",
            ),
            (
                "no tags",
                usual,
                Tags::new(),
                None,
                "spared: its tag forno:bake names no bake",
            ),
        ];
        let told = |verdict| match verdict {
            Verdict::Known => "known".to_owned(),
            Verdict::Spared(why) => format!("spared: {why}"),
            Verdict::Forgotten { reason, .. } => reason,
        };
        for (name, judge, tags, user, expected) in table {
            assert_eq!(told(judge.of(IMAGE, &tags, user)), expected, "{name}");
        }
        let young = told(judge(&none, hour).of(IMAGE, &tags, None));
        assert!(young.starts_with("spared: its bake began at "), "{young}");
    }

    #[test]
    fn what_of_packer_is_spared_and_why() {
        let none = Known::new();
        let day = 24 * 3600;
        let judge = |older_than| Judge {
            known: &none,
            now: at(10 * day),
            older_than,
        };
        let used = ["i-1".to_owned(), "i-2".to_owned()];
        let usual = judge(None);
        assert_eq!(
            usual.of_packer(Some(at(9 * day)), &[]),
            Ok("Packer made it at 1970-01-10T00:00:00Z".into())
        );
        for (made, users, why) in [
            (None, &[][..], "when it was made cannot be told"),
            (
                Some(at(9 * day + 1)),
                &[],
                "it was made at 1970-01-10T00:00:01Z, and its build may be running",
            ),
            (
                Some(at(11 * day)),
                &[],
                "it is dated 1970-01-12T00:00:00Z, which is yet to come",
            ),
            (Some(at(day)), &used, "in use by i-1, i-2"),
        ] {
            assert_eq!(usual.of_packer(made, users), Err(why.to_owned()));
        }
        let week = judge(Some(Duration::from_hours(7 * 24)));
        assert!(week.of_packer(Some(at(4 * day)), &[]).is_err());
        assert!(week.of_packer(Some(at(3 * day)), &[]).is_ok());
    }

    proptest! {
        /// Whatever the tags say: only what is over, old enough, unfinished, unknown
        /// and unused goes, and it goes under its own bake.
        #[test]
        fn nothing_goes_without_every_condition(
            finished in any::<bool>(),
            named in any::<bool>(),
            known in any::<bool>(),
            used in any::<bool>(),
            expires in prop::option::of(-10_000_i64..10_000),
            age in 0_i64..10_000,
            least in prop::option::of(0_u64..10_000),
        ) {
            let bake = BakeId::new("base");
            let began = bake.began();
            let now = began.checked_add(SignedDuration::from_secs(age)).unwrap();
            let mut tags = Tags::new();
            if finished { tags.insert(names::FINISHED, "x"); }
            tags.insert(names::BAKE, if named { bake.as_str() } else { "?" });
            if let Some(left) = expires {
                let expires = now.checked_add(SignedDuration::from_secs(left)).unwrap();
                tags.insert(names::EXPIRES, expires.to_string());
            }
            let of_machine: Known = if known {
                [(bake.clone(), Standing::Untouched)].into()
            } else {
                Known::new()
            };
            let judge = Judge {
                known: &of_machine,
                now,
                older_than: least.map(Duration::from_secs),
            };
            let verdict = judge.of(IMAGE, &tags, used.then_some("somebody"));
            let goes = !finished && named && !known && !used
                && expires.is_some_and(|left| left <= 0)
                && least.is_none_or(|least| age >= i64::try_from(least).unwrap());
            match verdict {
                Verdict::Forgotten { bake: of, .. } => {
                    prop_assert!(goes);
                    prop_assert_eq!(of, bake);
                }
                _ => prop_assert!(!goes),
            }
        }
    }
}
