//! Instance types: the families a bake is likely to name, with the processors
//! and memory that AWS publishes for them. A machine gets no more of either
//! than this computer has.

/// One instance type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceType {
    pub(crate) name: String,
    pub(crate) vcpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) arm: bool,
    pub(crate) burstable: bool,
    pub(crate) nitro: bool,
    pub(crate) current: bool,
    pub(crate) free_tier: bool,
    pub(crate) clock_ghz: &'static str,
    pub(crate) manufacturer: &'static str,
}

struct Family {
    name: &'static str,
    arm: bool,
    nitro: bool,
    current: bool,
    clock_ghz: &'static str,
    manufacturer: &'static str,
    sizes: &'static [(&'static str, u32, u32)],
}

const T2: &[(&str, u32, u32)] = &[
    ("nano", 1, 512),
    ("micro", 1, 1024),
    ("small", 1, 2048),
    ("medium", 2, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16384),
    ("2xlarge", 8, 32768),
];
const T3: &[(&str, u32, u32)] = &[
    ("nano", 2, 512),
    ("micro", 2, 1024),
    ("small", 2, 2048),
    ("medium", 2, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16384),
    ("2xlarge", 8, 32768),
];
const COMPUTE: &[(&str, u32, u32)] = &[
    ("large", 2, 4096),
    ("xlarge", 4, 8192),
    ("2xlarge", 8, 16384),
    ("4xlarge", 16, 32768),
];
const COMPUTE_G: &[(&str, u32, u32)] = &[
    ("medium", 1, 2048),
    ("large", 2, 4096),
    ("xlarge", 4, 8192),
    ("2xlarge", 8, 16384),
    ("4xlarge", 16, 32768),
];
const GENERAL: &[(&str, u32, u32)] = &[
    ("large", 2, 8192),
    ("xlarge", 4, 16384),
    ("2xlarge", 8, 32768),
    ("4xlarge", 16, 65536),
];
const GENERAL_G: &[(&str, u32, u32)] = &[
    ("medium", 1, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16384),
    ("2xlarge", 8, 32768),
    ("4xlarge", 16, 65536),
];
const MEMORY: &[(&str, u32, u32)] = &[
    ("large", 2, 16384),
    ("xlarge", 4, 32768),
    ("2xlarge", 8, 65536),
    ("4xlarge", 16, 131_072),
];

const fn family(
    name: &'static str,
    clock_ghz: &'static str,
    manufacturer: &'static str,
    sizes: &'static [(&'static str, u32, u32)],
) -> Family {
    Family {
        name,
        arm: false,
        nitro: true,
        current: true,
        clock_ghz,
        manufacturer,
        sizes,
    }
}

const fn graviton(
    name: &'static str,
    clock_ghz: &'static str,
    sizes: &'static [(&'static str, u32, u32)],
) -> Family {
    Family {
        name,
        arm: true,
        nitro: true,
        current: true,
        clock_ghz,
        manufacturer: "AWS",
        sizes,
    }
}

const FAMILIES: &[Family] = &[
    Family {
        nitro: false,
        ..family("t2", "3.0", "Intel", T2)
    },
    family("t3", "2.5", "Intel", T3),
    family("t3a", "2.2", "AMD", T3),
    family("c5", "3.4", "Intel", COMPUTE),
    family("c5a", "3.3", "AMD", COMPUTE),
    family("c6a", "3.6", "AMD", COMPUTE),
    family("c6i", "3.5", "Intel", COMPUTE),
    family("c7a", "3.7", "AMD", COMPUTE),
    family("c7i", "3.2", "Intel", COMPUTE),
    family("m5", "3.1", "Intel", GENERAL),
    family("m5a", "2.5", "AMD", GENERAL),
    family("m6a", "3.6", "AMD", GENERAL),
    family("m6i", "3.5", "Intel", GENERAL),
    family("m7a", "3.7", "AMD", GENERAL),
    family("m7i", "3.2", "Intel", GENERAL),
    family("r5", "3.1", "Intel", MEMORY),
    family("r6i", "3.5", "Intel", MEMORY),
    family("r7i", "3.2", "Intel", MEMORY),
    graviton("t4g", "2.5", T3),
    graviton("c6g", "2.5", COMPUTE_G),
    graviton("c7g", "2.6", COMPUTE_G),
    graviton("m6g", "2.5", GENERAL_G),
    graviton("m7g", "2.6", GENERAL_G),
];

impl InstanceType {
    /// All types, in the order of their names.
    pub(crate) fn all() -> Vec<Self> {
        let mut types: Vec<Self> = FAMILIES
            .iter()
            .flat_map(|family| {
                family.sizes.iter().map(|&(size, vcpus, memory_mib)| Self {
                    name: format!("{}.{size}", family.name),
                    vcpus,
                    memory_mib,
                    arm: family.arm,
                    burstable: family.name.starts_with('t'),
                    nitro: family.nitro,
                    current: family.current,
                    free_tier: matches!((family.name, size), ("t2" | "t3", "micro")),
                    clock_ghz: family.clock_ghz,
                    manufacturer: family.manufacturer,
                })
            })
            .collect();
        types.sort_by(|a, b| a.name.cmp(&b.name));
        types
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|kind| kind.name == name)
    }

    pub(crate) fn architecture(&self) -> &'static str {
        if self.arm { "arm64" } else { "x86_64" }
    }

    /// Threads per core: Graviton, T2 and AMD's seventh generation have one.
    pub(crate) fn threads_per_core(&self) -> u32 {
        let one = self.arm
            || !self.nitro
            || self.name.starts_with("c7a.")
            || self.name.starts_with("m7a.");
        if one || self.vcpus == 1 { 1 } else { 2 }
    }
}

/// What this computer can give to one machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostLimits {
    pub(crate) vcpus: u32,
    pub(crate) memory_mib: u32,
}

impl HostLimits {
    /// All processors, and half of the memory.
    pub(crate) fn of_this_computer() -> Self {
        let vcpus = std::thread::available_parallelism().map_or(1, usize::from);
        let info = rustix::system::sysinfo();
        let bytes = info.totalram * u64::from(info.mem_unit);
        Self {
            vcpus: u32::try_from(vcpus).unwrap_or(u32::MAX),
            memory_mib: u32::try_from(bytes / 2 / 1024 / 1024).unwrap_or(u32::MAX),
        }
    }

    /// Processors and memory of a machine of a type.
    pub(crate) fn grant(self, kind: &InstanceType) -> (u32, u32) {
        (
            kind.vcpus.min(self.vcpus),
            kind.memory_mib.min(self.memory_mib),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let all = InstanceType::all();
        for pair in all.windows(2) {
            assert!(pair[0].name < pair[1].name);
        }
        let large = InstanceType::find("c7i.large").unwrap();
        assert_eq!(
            (large.vcpus, large.memory_mib, large.architecture()),
            (2, 4096, "x86_64")
        );
        assert!(InstanceType::find("t4g.micro").unwrap().arm);
        assert_eq!(InstanceType::find("zz9.huge"), None);
    }

    #[test]
    fn no_machine_gets_more_than_there_is() {
        let limits = HostLimits {
            vcpus: 2,
            memory_mib: 3000,
        };
        assert_eq!(
            limits.grant(&InstanceType::find("m5.4xlarge").unwrap()),
            (2, 3000)
        );
        assert_eq!(
            limits.grant(&InstanceType::find("t3.nano").unwrap()),
            (2, 512)
        );
    }
}
