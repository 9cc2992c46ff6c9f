//! TensorBoard event files, written without TensorFlow.
//!
//! A file is a sequence of TFRecords, each one serialised `tensorflow.Event`:
//!
//! ```text
//! u64 little-endian   bytes of the event
//! u32 little-endian   masked CRC-32C of the eight bytes above
//! bytes               the event
//! u32 little-endian   masked CRC-32C of the event
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{At, Result};
use super::metrics::{Record, Spread, Straggler, Wire};

/// Appends scalars to an event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a new event file in `folder`.
    ///
    /// TensorBoard reads all event files of a folder as one history and drops what earlier ones
    /// hold from `first_step` on: a resumed run replaces the steps that it repeats.
    pub fn create(folder: &Path, first_step: u64) -> Result<Self> {
        let now = seconds_since_epoch();
        let (path, file) = new_file(folder, now as u64)?;
        let mut writer = Self { path, file };
        writer.write(&event(now, 0, &string(FILE_VERSION, "brain.Event:2")))?;
        let start = varint_field(SESSION_STATUS, SESSION_START);
        writer.write(&event(now, first_step, &bytes(SESSION_LOG, &start)))?;
        Ok(writer)
    }

    /// Adds the figures of one step, which TensorBoard can read at once.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let values = scalars(record).into_iter();
        let summary: Vec<u8> = values
            .flat_map(|(tag, value)| bytes(SUMMARY_VALUE, &scalar(&tag, value as f32)))
            .collect();
        let summary = bytes(SUMMARY, &summary);
        self.write(&event(seconds_since_epoch(), record.step, &summary))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        let record = tf_record(event);
        self.file.write_all(&record).at("write", &self.path)
    }
}

/// A file of its own even for two runs started within one second; names sort by time.
fn new_file(folder: &Path, seconds: u64) -> Result<(PathBuf, File)> {
    let process = std::process::id();
    let mut attempt = 0;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.fp8lm.{process}.{attempt}");
        let path = folder.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => attempt += 1,
            file => return Ok((path.clone(), file.at("create", &path)?)),
        }
    }
}

/// A clock before 1970 counts as 1970: a wrong date is no reason to stop a run.
fn seconds_since_epoch() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// The record's figures under the names that TensorBoard groups by.
fn scalars(record: &Record) -> Vec<(String, f64)> {
    let mut scalars = vec![
        ("loss/train".to_owned(), record.loss),
        ("optimizer/learning_rate".to_owned(), record.learning_rate),
        ("optimizer/grad_norm".to_owned(), record.grad_norm),
        ("optimizer/skipped".to_owned(), record.skipped as f64),
        ("speed/tokens_per_second".to_owned(), record.timing.tokens_per_second),
    ];
    let loss = record.validation_loss;
    scalars.extend(loss.map(|loss| ("loss/validation".to_owned(), loss)));
    scalars.extend(record.mu.iter().flat_map(|mu| spread("mu", "mean", mu)));
    scalars.extend(record.wire.iter().flat_map(wire));
    scalars.extend(record.timing.straggler.iter().flat_map(straggler));
    for (kind, statistics) in &record.formats {
        let kind = kind.label().replace(' ', "_");
        let saturation = statistics.saturation_rate;
        scalars.extend(saturation.map(|rate| (format!("saturation_rate/{kind}"), rate)));
        let underflow = statistics.underflow_rate;
        scalars.extend(underflow.map(|rate| (format!("underflow_rate/{kind}"), rate)));
        let scale = statistics.log2_scale.iter();
        let tag = format!("log2_scale/{kind}");
        scalars.extend(scale.flat_map(|scale| spread(&tag, "median", scale)));
    }
    scalars
}

/// Bytes that a rank sent in the mean.
fn wire(wire: &Wire) -> Vec<(String, f64)> {
    let sent = wire.sent.iter().map(|sent| {
        (format!("wire/{}/{}", sent.kind.replace(' ', "_"), sent.collective), sent.bytes)
    });
    let all = [("wire/all".to_owned(), wire.bytes()), ("wire/as_bf16".to_owned(), wire.bf16)];
    sent.chain(all).map(|(tag, bytes)| (tag, wire.of_a_rank(bytes))).collect()
}

/// Whom ranks waited for.
fn straggler(straggler: &Straggler) -> [(String, f64); 4] {
    let Straggler { rank, phase, seconds, median, waited } = *straggler;
    let phase = phase.label();
    [
        ("straggler/rank".to_owned(), rank as f64),
        (format!("straggler/{phase}/slowest"), seconds),
        (format!("straggler/{phase}/median"), median),
        ("straggler/longest_wait".to_owned(), waited),
    ]
}

fn spread(tag: &str, middle: &str, spread: &Spread) -> [(String, f64); 3] {
    let value = |part, value| (format!("{tag}/{part}"), value);
    [value("min", spread.min), value(middle, spread.middle), value("max", spread.max)]
}

/// `tensorflow.Event`, but for its payload field.
fn event(wall_time: f64, step: u64, payload: &[u8]) -> Vec<u8> {
    let wall_time = [vec![WALL_TIME << 3 | FIXED64], wall_time.to_le_bytes().to_vec()];
    [wall_time.concat(), varint_field(STEP, step), payload.to_vec()].concat()
}

/// `tensorflow.Summary.Value`.
fn scalar(tag: &str, value: f32) -> Vec<u8> {
    let mut message = string(VALUE_TAG, tag);
    message.push(VALUE_SIMPLE << 3 | FIXED32);
    message.extend(value.to_le_bytes());
    message
}

fn tf_record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let (head, body) = (masked_crc(&length), masked_crc(data));
    [&length[..], &head.to_le_bytes(), data, &body.to_le_bytes()].concat()
}

/// TFRecord masks its checksums, so that a checksum of data that hold checksums stays sound.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn string(field: u8, text: &str) -> Vec<u8> {
    bytes(field, text.as_bytes())
}

fn bytes(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[field << 3 | LENGTH_DELIMITED], &varint(bytes.len() as u64)[..], bytes].concat()
}

/// Protocol buffers leave zeros out.
fn varint_field(field: u8, value: u64) -> Vec<u8> {
    match value {
        0 => Vec::new(),
        _ => [vec![field << 3 | VARINT], varint(value)].concat(),
    }
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

// Wire types of protocol buffers.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

// Field numbers of tensorflow.Event.
const WALL_TIME: u8 = 1;
const STEP: u8 = 2;
const FILE_VERSION: u8 = 3;
const SUMMARY: u8 = 5;
const SESSION_LOG: u8 = 7;

// Field numbers of tensorflow.SessionLog, and the status that marks a restart.
const SESSION_STATUS: u8 = 1;
const SESSION_START: u64 = 1;

// Field numbers of tensorflow.Summary and tensorflow.Summary.Value.
const SUMMARY_VALUE: u8 = 1;
const VALUE_TAG: u8 = 1;
const VALUE_SIMPLE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_that_of_rfc_3720() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c::crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    }

    /// The first record of every file that TensorFlow writes, but for the time.
    #[test]
    fn the_version_record_is_byte_for_byte_that_of_tensorflow() {
        let expected = [
            24, 0, 0, 0, 0, 0, 0, 0, 0xA3, 0x7F, 0x4B, 0x22, // length and its checksum
            0x09, 0, 0, 0x10, 0x40, 0xFC, 0x54, 0xD9, 0x41, // wall_time = 1700000000.25
            0x1A, 13, b'b', b'r', b'a', b'i', b'n', b'.', // file_version, 13 bytes
            b'E', b'v', b'e', b'n', b't', b':', b'2', //
            0x33, 0x8D, 0x2F, 0xE9, // checksum of the event
        ];
        let record = tf_record(&event(1_700_000_000.25, 0, &string(FILE_VERSION, "brain.Event:2")));
        assert_eq!(record, expected);
    }

    #[test]
    fn a_scalar_is_laid_out_as_in_the_schema() {
        let summary = bytes(SUMMARY, &bytes(SUMMARY_VALUE, &scalar("a", 1.5)));
        let expected = [
            0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, // wall_time = 1.0
            0x10, 0xAC, 0x02, // step = 300
            0x2A, 0x0A, // summary, 10 bytes
            0x0A, 0x08, // value, 8 bytes
            0x0A, 0x01, b'a', // tag
            0x15, 0, 0, 0xC0, 0x3F, // simple_value = 1.5
        ];
        assert_eq!(event(1.0, 300, &summary), expected);
    }

    #[test]
    fn the_wire_is_told_by_kind_and_collective() {
        let books = [("FP8 gradients", "reduce_scatter", 10), ("weights", "all_gather", 20)];
        let scalars = wire(&Wire::new(4, books, 120));
        let expected = [
            ("wire/FP8_gradients/reduce_scatter", 2.5),
            ("wire/weights/all_gather", 5.0),
            ("wire/all", 7.5),
            ("wire/as_bf16", 30.0),
        ];
        assert_eq!(scalars, expected.map(|(tag, value)| (tag.to_owned(), value)));
    }

    #[test]
    fn the_slowest_rank_is_told_with_its_phase() {
        let phase = crate::run::metrics::Phase::Update;
        let told = Straggler { rank: 7, phase, seconds: 1.5, median: 1.0, waited: 0.25 };
        let expected = [
            ("straggler/rank", 7.0),
            ("straggler/update/slowest", 1.5),
            ("straggler/update/median", 1.0),
            ("straggler/longest_wait", 0.25),
        ];
        assert_eq!(straggler(&told), expected.map(|(tag, value)| (tag.to_owned(), value)));
    }

    #[test]
    fn every_writer_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventWriter::create(folder.path(), 1).unwrap();
        let second = EventWriter::create(folder.path(), 1).unwrap();
        assert_ne!(first.path, second.path);
        let bytes = std::fs::read(&second.path).unwrap();
        // Each record has 16 bytes of framing; the events hold the version and the session.
        assert_eq!(bytes.len(), (16 + 9 + 15) + (16 + 9 + 2 + 4));
    }
}
