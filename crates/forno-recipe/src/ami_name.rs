//! EC2's rule for names of AMIs: asked of a recipe when it is read, and of the
//! name again when the values that only a bake knows are in it.

/// Why EC2 would refuse the name of an AMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmiNameFault {
    #[error("{0} characters, allowed are 3 to 128")]
    Length(usize),
    #[error("`{0}` is not allowed")]
    Character(char),
}

impl AmiNameFault {
    pub const ALLOWED: &str = "allowed are letters, digits, space and `()[]./-'@_`";

    pub fn of(name: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
        match name.chars().count() {
            3..=128 => name.chars().find(|c| !allowed(*c)).map(Self::Character),
            length => Some(Self::Length(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_ec2() {
        assert_eq!(AmiNameFault::of("base-20261122 (x) [y]./'@_"), None);
        assert_eq!(AmiNameFault::of("ab"), Some(AmiNameFault::Length(2)));
        let long = "a".repeat(129);
        assert_eq!(AmiNameFault::of(&long), Some(AmiNameFault::Length(129)));
        assert_eq!(AmiNameFault::of("a:b"), Some(AmiNameFault::Character(':')));
        assert_eq!(AmiNameFault::of("bäse"), Some(AmiNameFault::Character('ä')));
    }
}
