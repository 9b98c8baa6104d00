//! What is installed, for the manifest.

use forno_link::{Command, Link, capture};
use serde::{Deserialize, Serialize};

use crate::{StepContext, StepError};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// The source package that it was built from, when it has another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub manager: PackageManager,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageManager {
    Dpkg,
    Rpm,
}

const LIST: &str = r"if command -v dpkg-query >/dev/null 2>&1; then
  dpkg-query -W -f 'dpkg\t${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\n'
elif command -v rpm >/dev/null 2>&1; then
  rpm -qa --qf 'rpm\tinstalled\t%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\n'
fi
";

pub(crate) async fn list(link: &dyn Link, ctx: &StepContext) -> Result<Vec<Package>, StepError> {
    if crate::stub::home(link, ctx).await?.is_some() {
        return Ok(Vec::new());
    }
    let output = capture(link, Command::shell(LIST), &ctx.cancel).await?;
    if !output.exit.success() {
        let reason = output.reason();
        return Err(StepError::guest(format!(
            "cannot list the packages: {reason}"
        )));
    }
    if output.dropped > 0 {
        return Err(StepError::guest("the list of packages is too long to read"));
    }
    let mut packages: Vec<Package> = output.stdout.lines().filter_map(read).collect();
    packages.sort();
    Ok(packages)
}

fn read(line: &str) -> Option<Package> {
    let mut fields = line.split('\t');
    let manager = match fields.next()? {
        "dpkg" => PackageManager::Dpkg,
        "rpm" => PackageManager::Rpm,
        _ => return None,
    };
    if fields.next()? != "installed" {
        return None;
    }
    let name = fields.next()?.to_owned();
    let version = fields.next()?.to_owned();
    let architecture = fields.next()?.to_owned();
    let source = fields.next().unwrap_or_default();
    let source = match manager {
        PackageManager::Dpkg => source,
        // name-version-release.src.rpm
        PackageManager::Rpm => source.rsplitn(3, '-').last().unwrap_or_default(),
    };
    let source = Some(source.to_owned()).filter(|s| !s.is_empty() && *s != name && s != "(none)");
    Some(Package {
        name,
        version,
        architecture,
        source,
        manager,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_package_managers_are_read() {
        let deb = read("dpkg\tinstalled\tlibssl3\t3.0.14-1~deb12u2\tamd64\topenssl").unwrap();
        assert_eq!(
            (deb.name.as_str(), deb.source.as_deref()),
            ("libssl3", Some("openssl"))
        );
        let rpm = read("rpm\tinstalled\topenssl-libs\t1:3.0.8-1.amzn2023\tx86_64\topenssl-3.0.8-1.amzn2023.src.rpm").unwrap();
        assert_eq!(rpm.version, "1:3.0.8-1.amzn2023");
        assert_eq!(rpm.source.as_deref(), Some("openssl"));
        assert_eq!(read("dpkg\tconfig-files\tgone\t1\tall\tgone"), None);
        let own = read("dpkg\tinstalled\tbash\t5.2\tamd64\tbash").unwrap();
        assert_eq!(own.source, None);
    }
}
