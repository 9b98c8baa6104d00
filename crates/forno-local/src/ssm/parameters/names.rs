//! Which names a parameter may have.

use crate::api::error::ApiError;
use crate::ssm::check::{self, invalid};

const LONGEST: usize = 1_011;
const DEEPEST: usize = 15;
const RESERVED: &str = "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). If formed as a \
                        path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a \
                        mix of letters, numbers and the following 3 symbols .-_";

/// Refuses a name that no parameter of one's own can have.
pub(super) fn check(name: &str) -> Result<(), ApiError> {
    check::length("name", name.len(), 1..=LONGEST)?;
    let start = name.trim_start_matches('/').to_ascii_lowercase();
    if start.starts_with("aws") || start.starts_with("ssm") {
        if name.starts_with('/') {
            return Err(ApiError::new(
                "AccessDeniedException",
                format!("No access to reserved parameter name: {name}."),
            ));
        }
        return Err(invalid(RESERVED));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let mut parts = name.split('/');
    if name.contains('/') && parts.next() != Some("") {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if !parts.all(|part| !part.is_empty() && part.chars().all(plain))
        || !name.chars().all(|c| c == '/' || plain(c))
    {
        return Err(invalid(RESERVED));
    }
    if name.matches('/').count() > DEEPEST {
        return Err(ApiError::new(
            "HierarchyLevelLimitExceededException",
            format!("A hierarchy can have a maximum of {DEEPEST} levels."),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["name", "a.b-c_d", "/a", "/golden/debian/12", "/a/ssm"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let code = |name: &str| check(name).unwrap_err().code().to_owned();
        for bad in [
            "", "a b", "a/b", "/", "//a", "/a/", "/a//b", "aws-x", "SSMx", "a:1", "ä",
        ] {
            assert_eq!(code(bad), "ValidationException", "{bad}");
        }
        assert_eq!(code("/aws/x"), "AccessDeniedException");
        assert_eq!(
            code(&"/a".repeat(16)),
            "HierarchyLevelLimitExceededException"
        );
    }
}
