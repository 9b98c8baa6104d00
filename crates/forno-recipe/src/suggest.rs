//! "Did you mean": the name that a slip was most likely meant to be.

/// The candidate closest to `name`, when one is close enough to be meant.
pub(crate) fn closest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (score(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        // Of equals the first: lists begin with what is used most.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

fn score(name: &str, candidate: &str) -> f64 {
    // `instance-types` and `instanceTypes` are spellings, not other words.
    let bare = |text: &str| {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    if bare(name) == bare(candidate) {
        return 1.0;
    }
    strsim::jaro_winkler(name, candidate).min(0.99)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["script", "run", "sudo", "instance_types", "timeout"];
        assert_eq!(closest("scirpt", keys), Some("script"));
        assert_eq!(closest("instance-types", keys), Some("instance_types"));
        assert_eq!(closest("instanceTypes", keys), Some("instance_types"));
        assert_eq!(closest("zebra", keys), None);
    }
}
