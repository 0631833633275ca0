//! What a file is: by its first bytes, and by its name where they can mean two things.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek};
use std::path::Path;

use crate::error::{Error, Result};
use crate::input::elements::Elements;
use crate::input::lines::Lines;
use crate::input::source::{self, Compression, Progress, Text};
use crate::input::{InputOptions, Pieces};

/// How a file holds its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// One object a line.
    Lines,
    /// One JSON array of objects.
    Array,
    /// One JSON object whose values are the objects.
    Entries,
    /// A Parquet table whose rows are the objects.
    Parquet,
}

/// Bytes that are looked at to tell lines from entries.
const MOST_PEEKED: u64 = 1 << 20;

/// Opens a file and tells what it is.
pub(super) fn open(path: &Path, options: &InputOptions) -> Result<(Pieces, Progress)> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let progress = Progress::default();
    let mut file = File::open(path).map_err(read_error)?;
    // A folder opens like a file on some systems, and fails later with an odd message.
    if file.metadata().map_err(read_error)?.is_dir() {
        return Err(read_error(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).map_err(read_error)?;
    file.rewind().map_err(read_error)?;
    let named_parquet = path.extension().is_some_and(|extension| extension == "parquet");
    let parquet = match options.container {
        Some(container) => container == Container::Parquet,
        None => magic == b"PAR1" || named_parquet,
    };
    if parquet {
        return Ok((rows(file, &magic, &progress), progress));
    }
    let compression = Compression::of(&magic);
    let (start, mut text) = peeked(file, compression, &progress).map_err(read_error)?;
    let container = options.container.unwrap_or_else(|| container_of(path, &start));
    if start.starts_with(b"\xef\xbb\xbf") {
        // The mark is JSON to no one, and the peeked bytes are in one buffer.
        text.fill_buf().map_err(read_error)?;
        text.consume(3);
    }
    let max_bytes = options.max_item_bytes.max(1);
    let pieces = match container {
        Container::Lines | Container::Parquet => Pieces::Lines(Lines::new(text, max_bytes)),
        Container::Array => Pieces::Elements(Elements::of_array(text, max_bytes)),
        Container::Entries => Pieces::Elements(Elements::of_object(text, max_bytes)),
    };
    Ok((pieces, progress))
}

#[cfg(feature = "parquet")]
fn rows(file: File, magic: &[u8], progress: &Progress) -> Pieces {
    match super::parquet::Rows::open(file, magic, progress) {
        Ok(rows) => Pieces::Rows(rows),
        Err(fault) => Pieces::Nothing(Some(fault)),
    }
}

#[cfg(not(feature = "parquet"))]
fn rows(_file: File, magic: &[u8], _progress: &Progress) -> Pieces {
    let detail = "expected a file that this build reads, found Parquet, which was left out of it";
    Pieces::Nothing(Some(crate::input::Fault {
        reason: crate::rejects::Reason::Damaged,
        detail: detail.to_owned(),
        excerpt: crate::rejects::excerpt_of_bytes(magic),
    }))
}

/// The text's beginning, and the text from its beginning.
fn peeked(
    file: File,
    compression: Compression,
    progress: &Progress,
) -> io::Result<(Vec<u8>, Text)> {
    let mut text = source::text(file, compression, progress)?;
    let mut start = Vec::new();
    match text.by_ref().take(MOST_PEEKED).read_to_end(&mut start) {
        Ok(_) => {}
        // What a damaged file still gives is delivered first; its reader meets the error
        // again, or the end of the file, after that.
        Err(error) if compression != Compression::None => {
            let rest = Broken { error: Some(error) };
            let whole = io::Cursor::new(start.clone()).chain(io::BufReader::new(rest));
            return Ok((start, Box::new(whole)));
        }
        Err(error) => return Err(error),
    }
    let whole = io::Cursor::new(start.clone()).chain(text);
    Ok((start, Box::new(whole)))
}

/// A stream that ends with an error.
struct Broken {
    error: Option<io::Error>,
}

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.error.take().map_or(Ok(0), Err)
    }
}

/// Lines, array or entries, from a file's name and its beginning.
fn container_of(path: &Path, start: &[u8]) -> Container {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".zst").or_else(|| name.strip_suffix(".gz")).unwrap_or(&name);
    if [".jsonl", ".ndjson"].iter().any(|ending| name.ends_with(ending)) {
        return Container::Lines;
    }
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    match start.first() {
        Some(b'[') => Container::Array,
        // Nothing at all is no line, but it is no JSON either.
        None if name.strip_suffix(".json").is_some() => Container::Array,
        Some(b'{') if is_object_of_objects(start) => Container::Entries,
        _ => Container::Lines,
    }
}

/// Whether a text that begins with `{` is one object of objects rather than one object a
/// line: it does not close on its first line, or it is all there is, and every value
/// in sight is an object.
fn is_object_of_objects(start: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut awaits_value, mut num_values, mut broken_line) = (false, 0, false);
    for (place, &byte) in start.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        if awaits_value && !byte.is_ascii_whitespace() {
            if byte != b'{' {
                return false;
            }
            awaits_value = false;
            num_values += 1;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let alone = start[place + 1..].trim_ascii().is_empty();
                    return num_values > 0 && (alone || broken_line);
                }
            }
            b':' if depth == 1 => awaits_value = true,
            b'\n' => broken_line = true,
            _ => {}
        }
    }
    num_values > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_first_bytes_tell_the_container() {
        for (name, start, container) in [
            ("a.jsonl", "[1]", Container::Lines),
            ("a.jsonl.zst", "{\"a\": {}}", Container::Lines),
            ("a.json", " [", Container::Array),
            ("a.json", "{\"question\": {\"problem\": 1}, \"n\": 2}\n{}", Container::Lines),
            ("a.json", "{\"question\": {\"problem\": 1}}\n{}", Container::Lines),
            ("a.json", "{\"1\": {\"q\": \"}{\\\"\"}, \"2\": {}}\n", Container::Entries),
            ("a.json", "{\n  \"1\": {\n \"q\": 1", Container::Entries),
            ("a.json.gz", "\u{feff}{\"1\": {\"q\": 1", Container::Entries),
            ("a.json", "{\"q\": \"text\"}", Container::Lines),
            ("a", "", Container::Lines),
            ("a.json", "", Container::Array),
        ] {
            assert_eq!(container_of(Path::new(name), start.as_bytes()), container, "{start}");
        }
    }
}
