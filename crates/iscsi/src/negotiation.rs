//! The operational keys: what an initiator offers, what is answered and what holds then (RFC 7143
//! section 13).

use crate::limits::SEGMENT_BYTES_MAX;
use crate::parameters::{DigestPolicy, Offer, Parameters, SessionType};
use crate::text::{boolean, number, yes_or_no};

/// Answers of section 6.2 that stand for no value.
pub(crate) const NOT_UNDERSTOOD: &str = "NotUnderstood";
pub(crate) const REJECT: &str = "Reject";
const IRRELEVANT: &str = "Irrelevant";
/// `iSCSIProtocolLevel` of RFC 7143 (RFC 7144 section 7.1.1).
const PROTOCOL_LEVEL: u64 = 1;

/// The negotiation of one login.
#[derive(Debug)]
pub(crate) struct Negotiation {
    offer: Offer,
    session_type: SessionType,
    parameters: Parameters,
}

/// What an offered key comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The value that holds, to be answered.
    Agreed(String),
    /// Answered with a word that stands for no value; the default holds.
    Refused(&'static str),
    /// Declared by the initiator; no answer.
    Declared,
}

impl Negotiation {
    pub(crate) fn new(offer: Offer, session_type: SessionType) -> Self {
        let offer = offer.within_bounds();
        Self { offer, session_type, parameters: Parameters::default() }
    }

    /// What holds by now.
    pub(crate) const fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Whether what holds is less than what is demanded of every session.
    pub(crate) fn lacks_digests(&self) -> bool {
        let lacks = |policy, has: bool| policy == DigestPolicy::Always && !has;
        let digests = self.parameters.digests;
        lacks(self.offer.header_digest, digests.header)
            || lacks(self.offer.data_digest, digests.data)
    }

    /// The target's own `MaxRecvDataSegmentLength`, which holds once it is told.
    pub(crate) fn declare(&mut self) -> String {
        self.parameters.target_segment_max = self.offer.segment_max;
        self.offer.segment_max.to_string()
    }

    /// What becomes of an offered key. A key that is not known here is not understood.
    pub(crate) fn offered(&mut self, key: &str, value: &str) -> Outcome {
        if self.session_type == SessionType::Discovery && is_for_normal_sessions(key) {
            return Outcome::Refused(IRRELEVANT);
        }
        let outcome = match key {
            "HeaderDigest" | "DataDigest" => self.digest(key, value),
            "InitialR2T" | "ImmediateData" | "DataPDUInOrder" | "DataSequenceInOrder" => {
                self.yes_or_no(key, value)
            }
            "MaxRecvDataSegmentLength" => self.declared_segment(value),
            "MaxBurstLength" | "FirstBurstLength" => self.length(key, value),
            "IFMarker" | "OFMarker" => Some(Outcome::Agreed(yes_or_no(false).to_owned())),
            "IFMarkInt" | "OFMarkInt" => None,
            "TaskReporting" => list_has(value, "RFC3720").then(|| agreed("RFC3720")),
            _ => return self.count(key, value),
        };
        outcome.unwrap_or(Outcome::Refused(REJECT))
    }

    /// The first value of the initiator's list that is spoken here.
    fn digest(&mut self, key: &str, value: &str) -> Option<Outcome> {
        let Self { offer, parameters, .. } = self;
        let (policy, held) = match key {
            "HeaderDigest" => (offer.header_digest, &mut parameters.digests.header),
            _ => (offer.data_digest, &mut parameters.digests.data),
        };
        let chosen = value.split(',').find(|word| match *word {
            "None" => policy != DigestPolicy::Always,
            "CRC32C" => policy != DigestPolicy::Never,
            _ => false,
        })?;
        *held = chosen == "CRC32C";
        Some(agreed(chosen))
    }

    fn yes_or_no(&mut self, key: &str, value: &str) -> Option<Outcome> {
        let theirs = boolean(value)?;
        let holds = match key {
            "InitialR2T" => {
                self.parameters.initial_r2t = theirs || self.offer.initial_r2t;
                self.parameters.initial_r2t
            }
            "ImmediateData" => {
                self.parameters.immediate_data = theirs && self.offer.immediate_data;
                self.parameters.immediate_data
            }
            // Data in any other order than ascending is not taken here.
            _ => true,
        };
        Some(agreed(yes_or_no(holds)))
    }

    fn declared_segment(&mut self, value: &str) -> Option<Outcome> {
        self.parameters.initiator_segment_max = segment(value)?;
        Some(Outcome::Declared)
    }

    fn length(&mut self, key: &str, value: &str) -> Option<Outcome> {
        let theirs = segment(value)?;
        let (ours, held) = match key {
            "MaxBurstLength" => (self.offer.max_burst, &mut self.parameters.max_burst),
            _ => (self.offer.first_burst, &mut self.parameters.first_burst),
        };
        *held = theirs.min(ours);
        Some(agreed(*held))
    }

    /// The keys whose value is a number, not of bytes.
    fn count(&mut self, key: &str, value: &str) -> Outcome {
        let Self { offer, parameters, .. } = self;
        let within = |low: u64, high: u64| {
            number(value).filter(|count| (low..=high).contains(count)).map(|count| count as u16)
        };
        let agreed_count = match key {
            "MaxConnections" => within(1, 65_535).map(|_| 1),
            "MaxOutstandingR2T" => within(1, 65_535).map(|theirs| {
                parameters.max_outstanding_r2t = theirs.min(offer.max_outstanding_r2t);
                parameters.max_outstanding_r2t
            }),
            "DefaultTime2Wait" => within(0, 3600).map(|theirs| {
                parameters.time2wait = theirs.max(offer.time2wait);
                parameters.time2wait
            }),
            "DefaultTime2Retain" => within(0, 3600).map(|theirs| {
                parameters.time2retain = theirs.min(offer.time2retain);
                parameters.time2retain
            }),
            "ErrorRecoveryLevel" => within(0, 2).map(|_| 0),
            "iSCSIProtocolLevel" => within(0, 31).map(|theirs| theirs.min(PROTOCOL_LEVEL as u16)),
            _ => return Outcome::Refused(NOT_UNDERSTOOD),
        };
        agreed_count.map_or(Outcome::Refused(REJECT), agreed)
    }
}

/// `MaxRecvDataSegmentLength` as it stands in a text, where it can have that value.
pub(crate) fn segment(value: &str) -> Option<u32> {
    let length = u32::try_from(number(value)?).ok()?;
    (512..=SEGMENT_BYTES_MAX).contains(&length).then_some(length)
}

fn agreed(value: impl ToString) -> Outcome {
    Outcome::Agreed(value.to_string())
}

fn list_has(list: &str, word: &str) -> bool {
    list.split(',').any(|listed| listed == word)
}

fn is_for_normal_sessions(key: &str) -> bool {
    [
        "MaxConnections",
        "InitialR2T",
        "ImmediateData",
        "MaxBurstLength",
        "FirstBurstLength",
        "MaxOutstandingR2T",
        "DataPDUInOrder",
        "DataSequenceInOrder",
        "TaskReporting",
    ]
    .contains(&key)
}

#[cfg(test)]
mod tests;
