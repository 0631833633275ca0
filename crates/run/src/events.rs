//! TensorBoard event files, written and read by hand: a `TFRecord` stream of `Event`
//! protobufs with scalar summaries.
//!
//! A record is `length: u64, masked_crc32c(length): u32, data, masked_crc32c(data): u32`,
//! little-endian. The data is an `Event`: field 1 `wall_time` (double), 2 `step` (int64),
//! 3 `file_version` (string, in the first record only) and 5 `summary`, whose repeated
//! field 1 holds values of field 1 `tag` (string) and 2 `simple_value` (float). See
//! `tensorflow/core/util/event.proto` and `tensorflow/core/framework/summary.proto`.

use crate::crc32c::masked_crc32c;

/// The event file's name in a run's folder; TensorBoard looks for `tfevents` in it.
pub const FILE: &str = "events.out.tfevents.limbeck";

/// One event as read back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// Training step.
    pub step: u64,
    /// `brain.Event:2` in the first record, empty in the others.
    pub file_version: String,
    /// Tags and values.
    pub scalars: Vec<(String, f32)>,
}

/// The record that a file must begin with.
pub fn first_record(wall_time: f64) -> Vec<u8> {
    let mut event = double_field(1, wall_time);
    event.extend(bytes_field(3, b"brain.Event:2"));
    record(&event)
}

/// The record of one step's scalars.
pub fn scalar_record(wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut entry = bytes_field(1, tag.as_bytes());
        entry.push(2 << 3 | 5);
        entry.extend((*value as f32).to_le_bytes());
        summary.extend(bytes_field(1, &entry));
    }
    let mut event = double_field(1, wall_time);
    event.push(2 << 3);
    event.extend(varint(step));
    event.extend(bytes_field(5, &summary));
    record(&event)
}

/// The events of a file, each with the offset at which its record ends. Reading stops
/// where a record is incomplete or damaged, as after a killed run.
pub fn read(bytes: &[u8]) -> Vec<(usize, Event)> {
    let mut events = Vec::new();
    let mut offset = 0;
    while let Some((end, data)) = next_record(bytes, offset) {
        let Some(event) = parse(data) else { break };
        events.push((end, event));
        offset = end;
    }
    events
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(data.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_crc32c(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc32c(data).to_le_bytes());
    bytes
}

fn next_record(bytes: &[u8], offset: usize) -> Option<(usize, &[u8])> {
    let header = bytes.get(offset..offset.checked_add(12)?)?;
    let (length, checksum) = header.split_at(8);
    if masked_crc32c(length).to_le_bytes() != *checksum {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let start = offset + 12;
    let data = bytes.get(start..start.checked_add(length)?)?;
    let end = start + length + 4;
    let checksum = bytes.get(start + length..end)?;
    (masked_crc32c(data).to_le_bytes() == *checksum).then_some((end, data))
}

/// Wire types of protobuf that occur here.
enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

fn parse(data: &[u8]) -> Option<Event> {
    let mut event = Event::default();
    for (number, field) in fields(data)? {
        match (number, field) {
            (1, Field::Fixed64(bytes)) => event.wall_time = f64::from_le_bytes(bytes),
            (2, Field::Varint(step)) => event.step = step,
            (3, Field::Bytes(text)) => event.file_version = text_of(text)?,
            (5, Field::Bytes(summary)) => {
                for (number, field) in fields(summary)? {
                    if let (1, Field::Bytes(entry)) = (number, field) {
                        event.scalars.push(parse_scalar(entry)?);
                    }
                }
            }
            _ => {}
        }
    }
    Some(event)
}

fn parse_scalar(entry: &[u8]) -> Option<(String, f32)> {
    let (mut tag, mut value) = (String::new(), 0.0);
    for (number, field) in fields(entry)? {
        match (number, field) {
            (1, Field::Bytes(text)) => tag = text_of(text)?,
            (2, Field::Fixed32(bytes)) => value = f32::from_le_bytes(bytes),
            _ => {}
        }
    }
    Some((tag, value))
}

fn fields(mut data: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !data.is_empty() {
        let key = read_varint(&mut data)?;
        let field = match key & 7 {
            0 => Field::Varint(read_varint(&mut data)?),
            1 => Field::Fixed64(take(&mut data, 8)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(read_varint(&mut data)?).ok()?;
                Field::Bytes(take(&mut data, length)?)
            }
            5 => Field::Fixed32(take(&mut data, 4)?.try_into().ok()?),
            _ => return None,
        };
        fields.push((key >> 3, field));
    }
    Some(fields)
}

fn take<'a>(data: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = data.split_at_checked(count)?;
    *data = tail;
    Some(head)
}

fn read_varint(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(data, 1)?[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn text_of(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn double_field(number: u8, value: f64) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 1];
    bytes.extend(value.to_le_bytes());
    bytes
}

fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_back_as_written() {
        let mut bytes = first_record(1.5);
        bytes.extend(scalar_record(2.5, 300, &[("train/loss", 0.25), ("rate", 1e9)]));
        let events: Vec<Event> = read(&bytes).into_iter().map(|(_, event)| event).collect();
        let first =
            Event { wall_time: 1.5, file_version: "brain.Event:2".to_owned(), ..Event::default() };
        let second = Event {
            wall_time: 2.5,
            step: 300,
            scalars: vec![("train/loss".to_owned(), 0.25), ("rate".to_owned(), 1e9)],
            ..Event::default()
        };
        assert_eq!(events, [first, second]);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        // Equivalent Python: `Event(wall_time=0.0, step=1, summary=Summary(value=[
        // Summary.Value(tag="a", simple_value=1.0)])).SerializeToString()`; a zero that is
        // written out parses the same as one left out.
        let bytes = scalar_record(0.0, 1, &[("a", 1.0)]);
        let event = &bytes[12..bytes.len() - 4];
        let expected =
            [9, 0, 0, 0, 0, 0, 0, 0, 0, 16, 1, 42, 10, 10, 8, 10, 1, 97, 21, 0, 0, 128, 63];
        assert_eq!(event, expected);
        assert_eq!(bytes[..8], 23_u64.to_le_bytes());
    }

    #[test]
    fn damage_ends_the_reading_without_a_panic() {
        let mut bytes = first_record(1.0);
        bytes.extend(scalar_record(2.0, 7, &[("loss", 1.0)]));
        let whole = read(&bytes).len();
        assert_eq!(whole, 2);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).len() < whole);
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert!(read(&damaged).len() < whole, "byte {index}");
        }
    }
}
