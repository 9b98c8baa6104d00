//! The regions that the endpoint knows. Each is whole and apart from the
//! others; only the home region holds the public Debian image.

/// One region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) name: &'static str,
    /// How ids of its zones begin (`use1-az1`).
    pub(crate) zone_id: &'static str,
}

pub(crate) const REGIONS: &[Region] = &[
    Region {
        name: "ap-southeast-2",
        zone_id: "apse2",
    },
    Region {
        name: "eu-central-1",
        zone_id: "euc1",
    },
    Region {
        name: "eu-west-1",
        zone_id: "euw1",
    },
    Region {
        name: "sa-east-1",
        zone_id: "sae1",
    },
    Region {
        name: "us-east-1",
        zone_id: "use1",
    },
    Region {
        name: "us-east-2",
        zone_id: "use2",
    },
    Region {
        name: "us-west-2",
        zone_id: "usw2",
    },
];

impl Region {
    pub(crate) fn find(name: &str) -> Option<Self> {
        REGIONS.iter().copied().find(|region| region.name == name)
    }

    /// Its three zones.
    pub(crate) fn zones(self) -> [Zone; 3] {
        ['a', 'b', 'c'].map(|letter| Zone {
            region: self,
            letter,
        })
    }

    pub(crate) fn zone(self, name: &str) -> Option<Zone> {
        self.zones().into_iter().find(|zone| zone.name() == name)
    }
}

/// One availability zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) region: Region,
    letter: char,
}

impl Zone {
    pub(crate) fn name(self) -> String {
        format!("{}{}", self.region.name, self.letter)
    }

    pub(crate) fn id(self) -> String {
        format!("{}-az{}", self.region.zone_id, self.index() + 1)
    }

    /// 0, 1 or 2.
    pub(crate) fn index(self) -> u8 {
        u8::try_from(u32::from(self.letter) - u32::from('a')).unwrap_or(0)
    }
}
