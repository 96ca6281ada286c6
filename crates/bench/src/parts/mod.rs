//! What is measured, one file a part. Each makes one round: every case, and in it every system in
//! turn, so that all of them meet the machine in the same state.

pub(crate) mod copy;
pub(crate) mod cutover;
pub(crate) mod delay;
pub(crate) mod idle_cost;
pub(crate) mod iscsi;
pub(crate) mod migrate;
pub(crate) mod scale;
pub(crate) mod serve;
pub(crate) mod switch;

use anyhow::Result;

use crate::bench::Round;
use crate::record::Part;

/// Bytes of a MiB and of a GiB.
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The system that is ours, where it is one program or all of them together.
pub(crate) const OURS: &str = "blockferry";

/// Makes a round of its part.
pub(crate) fn round(round: &mut Round<'_>) -> Result<()> {
    match round.part() {
        Part::Serve => serve::round(round),
        Part::Iscsi => iscsi::round(round),
        Part::Copy => copy::round(round),
        Part::Migrate => migrate::round(round),
        Part::Switch => switch::round(round),
        Part::Cutover => cutover::round(round),
        Part::Scale => scale::round(round),
        Part::IdleCost => idle_cost::round(round),
        Part::Delay => delay::round(round),
    }
}
