//! A disk in memory: what a server makes of the unit's work, in its plainest form.

use blockferry_block::Extent;
use blockferry_scsi::{
    BlockLength, Compare, Geometry, Identity, InitiatorPort, LogicalUnit, NexusId, Outcome,
    Pattern, PhysicalBlock, Provisioning, Response, Run, Status, Step, UnitConfig, UnitState, Work,
};

/// Length of a logical block in bytes.
pub(crate) const BLOCK: usize = 512;
/// Blocks of the disk.
pub(crate) const BLOCKS: usize = 2048;
/// The one session.
const NEXUS: NexusId = NexusId(1);
/// What has space, has it in units of so many bytes.
const CLUSTER: usize = 4096;

/// A unit and its medium.
pub(crate) struct Disk {
    unit: LogicalUnit,
    content: Vec<u8>,
    mapped: Vec<bool>,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) response: Response,
    pub(crate) data_in: Vec<u8>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let size = (BLOCKS * BLOCK) as u64;
        let geometry = Geometry::new(size, BlockLength::B512, PhysicalBlock::B4096);
        let config = UnitConfig {
            identity: Identity { uuid: [1; 16], name: "vol".parse().unwrap() },
            geometry: geometry.unwrap(),
            provisioning: Provisioning::Thin,
            read_only: false,
            rotational: false,
        };
        let mut unit = LogicalUnit::new(config, UnitState::new());
        let port = InitiatorPort::iscsi("iqn.2026-01.test:suite", [0; 6]).unwrap();
        unit.connect(NEXUS, port).unwrap();
        let content = vec![0; BLOCKS * BLOCK];
        let mut disk = Self { unit, content, mapped: vec![false; BLOCKS * BLOCK / CLUSTER] };
        assert_eq!(disk.send(&[0; 6], &[]).sense(), (6, 0x29, 0x00));
        disk
    }

    /// Brings a command with its data, as a transport does.
    pub(crate) fn send(&mut self, cdb: &[u8], data: &[u8]) -> Ended {
        let mut begun = self.unit.begin(NEXUS, cdb, data.len() as u64);
        if let Step::Parameters { bytes } = begun.step {
            let list = &data[..data.len().min(bytes as usize)];
            begun = self.unit.parameters(NEXUS, cdb, list);
        }
        match begun.step {
            Step::Answer(response) => {
                let data_in = response.data_in.to_vec();
                Ended { response, data_in }
            }
            Step::Medium(medium) => {
                let taken = usize::try_from(medium.work.data_out()).unwrap();
                let (outcome, read) = self.execute(&medium.work, &data[..taken]);
                let response = self.unit.finish(&medium, &outcome);
                let answer = response.data_in.to_vec();
                Ended { response, data_in: read.unwrap_or(answer) }
            }
            Step::Parameters { .. } => panic!("a list is asked for once"),
        }
    }

    fn execute(&mut self, work: &Work, data: &[u8]) -> (Outcome, Option<Vec<u8>>) {
        match work {
            Work::Read { extent, .. } => (Outcome::Done, Some(self.read(*extent).to_vec())),
            Work::Write { extent, .. } | Work::WriteVerify { extent, .. } => {
                (self.write(*extent, data), None)
            }
            Work::Verify { extent, compare } => (self.verify(*extent, *compare, data), None),
            Work::WriteSame { extent, pattern, unmap, .. } => {
                (self.write_same(*extent, *pattern, *unmap, data), None)
            }
            Work::CompareAndWrite { extent, .. } => {
                let (expected, new) = data.split_at(data.len() / 2);
                let outcome = match difference(self.read(*extent), expected) {
                    Some(at) => Outcome::Miscompare { at },
                    None => self.write(*extent, new),
                };
                (outcome, None)
            }
            Work::OrWrite { extent, .. } => {
                let or = self.read(*extent).iter().zip(data).map(|(old, new)| old | new);
                let or: Vec<_> = or.collect();
                (self.write(*extent, &or), None)
            }
            Work::Unmap { extents, .. } => {
                extents.iter().for_each(|extent| self.unmap(*extent));
                (Outcome::Done, None)
            }
            Work::Flush { .. } | Work::PreFetch { .. } => (Outcome::Done, None),
            Work::LbaStatus { extent, .. } => (Outcome::Runs(self.runs(*extent)), None),
        }
    }

    fn read(&self, extent: Extent) -> &[u8] {
        &self.content[place(extent)]
    }

    fn write(&mut self, extent: Extent, data: &[u8]) -> Outcome {
        self.content[place(extent)].copy_from_slice(data);
        let clusters = place(extent).start / CLUSTER..place(extent).end.div_ceil(CLUSTER);
        self.mapped[clusters].fill(true);
        Outcome::Done
    }

    fn verify(&self, extent: Extent, compare: Compare, data: &[u8]) -> Outcome {
        let expected = match compare {
            Compare::Nothing => return Outcome::Done,
            Compare::Bytes => data.to_vec(),
            Compare::Block { .. } => data.repeat(place(extent).len() / data.len()),
        };
        let found = difference(self.read(extent), &expected);
        found.map_or(Outcome::Done, |at| Outcome::Miscompare { at })
    }

    fn write_same(
        &mut self,
        extent: Extent,
        pattern: Pattern,
        unmap: bool,
        data: &[u8],
    ) -> Outcome {
        let zeroes = matches!(pattern, Pattern::Zeroes) || data.iter().all(|byte| *byte == 0);
        if unmap && zeroes {
            self.unmap(extent);
            return Outcome::Done;
        }
        let length = place(extent).len();
        let content = if zeroes { vec![0; length] } else { data.repeat(length / data.len()) };
        self.write(extent, &content)
    }

    /// Whole clusters lose their space, the rest is zeroed.
    fn unmap(&mut self, extent: Extent) {
        self.content[place(extent)].fill(0);
        let whole = place(extent).start.div_ceil(CLUSTER)..place(extent).end / CLUSTER;
        if !whole.is_empty() {
            self.mapped[whole].fill(false);
        }
    }

    fn runs(&self, extent: Extent) -> Vec<Run> {
        let clusters = extent.start() / CLUSTER as u64..extent.end().div_ceil(CLUSTER as u64);
        let run = |cluster: u64| {
            let bytes = Extent::between(cluster * CLUSTER as u64, (cluster + 1) * CLUSTER as u64);
            let mapped = self.mapped[usize::try_from(cluster).unwrap()];
            Run { length: bytes.intersection(extent).map_or(0, Extent::len), mapped }
        };
        clusters.map(run).collect()
    }
}

impl Ended {
    /// The command was executed.
    pub(crate) fn good(self) -> Vec<u8> {
        assert_eq!(self.response.status, Status::Good, "{:x?}", self.response.sense);
        self.data_in
    }

    /// Key, code and qualifier.
    pub(crate) fn sense(&self) -> (u8, u8, u8) {
        let sense = self.response.sense.expect("sense data");
        let bytes = sense.as_bytes();
        (bytes[2] & 0xf, bytes[12], bytes[13])
    }
}

/// A command descriptor block of 16 bytes.
pub(crate) fn sixteen(opcode: u8, flags: u8, lba: usize, blocks: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[opcode, flags]);
    cdb[2..10].copy_from_slice(&(lba as u64).to_be_bytes());
    cdb[10..14].copy_from_slice(&u32::try_from(blocks).unwrap().to_be_bytes());
    cdb
}

fn place(extent: Extent) -> std::ops::Range<usize> {
    usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap()
}

fn difference(a: &[u8], b: &[u8]) -> Option<u64> {
    a.iter().zip(b).position(|(a, b)| a != b).map(|at| at as u64)
}
