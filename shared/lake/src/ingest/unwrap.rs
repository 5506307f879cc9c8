//! Takes records out of their envelopes before they are decoded.

use headwater_core::envelope::{Content, Envelope};
use headwater_core::model::Format;

use super::records::{Cutter, Record, record};

/// Records of a text, and the rows in their envelopes.
#[derive(Debug)]
pub(super) struct Unwrapped {
    /// The rows, one a line.
    pub(super) text: Vec<u8>,
    /// Where they are in it.
    pub(super) rows: Vec<Record>,
    /// Which record each of them was in.
    pub(super) of: Vec<usize>,
    /// The records as they were cut.
    pub(super) records: Vec<Record>,
    /// Records without a row that should have one, with reasons.
    pub(super) bad: Vec<(usize, String)>,
}

impl Unwrapped {
    /// Opens the envelopes of a text, as far as they aren't larger than a record may be.
    pub(super) fn new(envelope: Envelope, (text, records): (&[u8], Vec<Record>), record_bytes: usize) -> Self {
        let mut unwrapped = Self {
            text: Vec::with_capacity(text.len()),
            rows: Vec::with_capacity(records.len()),
            of: Vec::with_capacity(records.len()),
            records: Vec::new(),
            bad: Vec::new(),
        };
        for (index, record) in records.iter().enumerate() {
            if record.range.len() > record_bytes {
                unwrapped.bad.push((index, format!("larger than {record_bytes} bytes")));
            } else {
                let fault = record.shape(text, &Format::Json).fault;
                unwrapped.open(envelope, index, &text[record.range.clone()], fault);
            }
        }
        unwrapped.records = records;
        unwrapped
    }

    fn open(&mut self, envelope: Envelope, index: usize, wrapped: &[u8], fault: Option<&str>) {
        let start = self.text.len();
        let content = if envelope.is_tombstone(wrapped) {
            Content::Nothing
        } else {
            match fault {
                Some(fault) => Content::Fault(fault.to_owned()),
                None => envelope.unwrap(wrapped, &mut self.text),
            }
        };
        match content {
            Content::Row => {
                let row = record(&self.text, start..self.text.len(), 1, &Format::Json);
                self.of.extend(row.as_ref().map(|_| index));
                self.rows.extend(row);
                self.text.push(b'\n');
            }
            Content::Nothing => {}
            Content::Fault(reason) => self.bad.push((index, reason)),
        }
    }
}

/// The rows in the envelopes of a sample, one a line.
pub(super) fn unwrapped_sample(envelope: Envelope, sample: &[u8]) -> Vec<u8> {
    let (records, _) = Cutter::new(&Format::Json, sample.len()).cut(sample, true);
    Unwrapped::new(envelope, (sample, records), sample.len()).text
}
