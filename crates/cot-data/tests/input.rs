//! Foreign files: every container and compression, and every way to be broken.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use limbeck_cot_data::{At, Container, InputOptions, Item, ObjectReader, Reason};

/// A file in a folder of its own.
struct Made {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn made(name: &str, bytes: &[u8]) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    Made { _folder: folder, path }
}

fn read_with(path: &Path, options: &InputOptions) -> Vec<Item> {
    let mut reader = ObjectReader::open(path, options).unwrap();
    let mut items = Vec::new();
    loop {
        let batch = reader.next_batch().unwrap();
        if batch.is_empty() {
            assert!(reader.next_batch().unwrap().is_empty(), "the end is the end");
            return items;
        }
        items.extend(batch);
    }
}

fn read(name: &str, bytes: &[u8]) -> Vec<Item> {
    read_with(&made(name, bytes).path, &InputOptions::default())
}

/// The place and, for an object, its field `n`, or else the fault's name.
fn summary(items: &[Item]) -> Vec<(At, String)> {
    items
        .iter()
        .map(|item| {
            let what = match &item.content {
                Ok(map) => map["n"].to_string(),
                Err(fault) => fault.reason.name().to_owned(),
            };
            (item.place.at.clone(), what)
        })
        .collect()
}

fn line(number: u64, what: &str) -> (At, String) {
    (At::Line(number), what.to_owned())
}

fn entry(index: u64, key: Option<&str>, what: &str) -> (At, String) {
    (At::Entry { index, key: key.map(str::to_owned) }, what.to_owned())
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lines_are_read_with_their_numbers() {
    let text = b"\xef\xbb\xbf{\"n\": 1}\r\n\n  \n{\"n\": 2}";
    let wanted = [line(1, "1"), line(4, "2")];
    assert_eq!(summary(&read("a.jsonl", text)), wanted);
    // The name may say nothing, or another thing.
    assert_eq!(summary(&read("a", text)), wanted);
    assert_eq!(summary(&read("a.json", text)), wanted);
    assert_eq!(summary(&read("a.jsonl.zst", &zstd_of(text))), wanted);
    assert_eq!(summary(&read("a.jsonl.gz", &gzip_of(text))), wanted);
    assert_eq!(summary(&read("misnamed.jsonl", &zstd_of(text))), wanted);
    // Compressed files that were put one after another are one text.
    let two = [gzip_of(b"{\"n\": 1}\n"), gzip_of(b"{\"n\": 2}\n")].concat();
    assert_eq!(summary(&read("a.gz", &two)), [line(1, "1"), line(2, "2")]);
    let two = [zstd_of(b"{\"n\": 1}\n"), zstd_of(b"{\"n\": 2}\n")].concat();
    assert_eq!(summary(&read("a.zst", &two)), [line(1, "1"), line(2, "2")]);
}

#[test]
fn a_line_that_is_no_object_is_a_fault_among_good_ones() {
    let text = b"{\"n\": 1}\n{\"n\": \xff}\nno\n[1, 2]\n\"text\"\n{\"n\": 2}x\n{\"n\": 3}\n{\"n\"";
    let items = read("a.jsonl", text);
    let wanted = [
        line(1, "1"),
        line(2, "not_utf8"),
        line(3, "not_json"),
        line(4, "not_an_object"),
        line(5, "not_an_object"),
        line(6, "not_json"),
        line(7, "3"),
        line(8, "cut_off"),
    ];
    assert_eq!(summary(&items), wanted);
    for item in &items {
        if let Err(fault) = &item.content {
            assert!(fault.detail.contains("expected") && fault.detail.contains("found"));
            assert!(!fault.excerpt.is_empty());
        }
    }
    assert!(items[3].content.as_ref().unwrap_err().detail.contains("list [1,2]"));
}

#[test]
fn a_character_cut_in_two_at_the_end_is_a_cut() {
    let text = "{\"n\": 1}\n{\"n\": \"é".as_bytes();
    assert_eq!(
        summary(&read("a.jsonl", &text[..text.len() - 1])),
        [line(1, "1"), line(2, "cut_off")]
    );
}

#[test]
fn a_huge_line_is_passed_over_without_being_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl.zst");
    let mut out = zstd::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
    out.write_all(b"{\"n\": 1}\n{\"n\": \"").unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        out.write_all(&block).unwrap();
    }
    out.write_all(b"\"}\n{\"n\": 3}\n").unwrap();
    out.finish().unwrap();
    let before = peak_memory();
    let items = read_with(&path, &InputOptions::default());
    assert_eq!(summary(&items), [line(1, "1"), line(2, "too_long"), line(3, "3")]);
    let fault = items[1].content.as_ref().unwrap_err();
    assert!(fault.detail.contains("33554432") && fault.detail.contains("1048576"), "{fault:?}");
    if let Some((before, after)) = before.zip(peak_memory()) {
        // The limit is 32 MiB, and a growing buffer holds at most twice of it.
        assert!(after.saturating_sub(before) < 90 << 20, "{before} {after}");
    }
}

/// The most memory that this process ever held, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1_024)
}

#[test]
fn a_limit_holds_for_entries_and_the_last_line_too() {
    let options = InputOptions { max_item_bytes: 20, ..InputOptions::default() };
    let long = format!("{{\"n\": \"{}\"}}", "é,]}".repeat(40));
    let file = made("a.json", format!("[{{\"n\": 1}}, {long}, {{\"n\": 3}}]").as_bytes());
    let wanted = [entry(1, None, "1"), entry(2, None, "too_long"), entry(3, None, "3")];
    assert_eq!(summary(&read_with(&file.path, &options)), wanted);
    let file = made("a.jsonl", format!("{{\"n\": 1}}\n{long}").as_bytes());
    assert_eq!(summary(&read_with(&file.path, &options)), [line(1, "1"), line(2, "too_long")]);
}

#[test]
fn arrays_and_objects_of_objects_are_read_entry_by_entry() {
    let array = r#" [ {"n": 1, "s": "],{\"\\"} , {"n": [2, {"a": "}"}]}
        ]  "#;
    let wanted = [entry(1, None, "1"), entry(2, None, r#"[2,{"a":"}"}]"#)];
    assert_eq!(summary(&read("a.json", array.as_bytes())), wanted);
    assert_eq!(summary(&read("a.json.zst", &zstd_of(array.as_bytes()))), wanted);
    let object = r#"{"17": {"n": 1}, "k\"\u00e9": {"n": 2}}"#;
    let wanted = [entry(1, Some("17"), "1"), entry(2, Some("k\"é"), "2")];
    assert_eq!(summary(&read("a.json", object.as_bytes())), wanted);
    assert_eq!(summary(&read("a.json", b"[]")), []);
    // What is written on one line may be told to be either.
    let options = InputOptions { container: Some(Container::Lines), ..InputOptions::default() };
    let items = read_with(&made("a.json", object.as_bytes()).path, &options);
    assert!(items[0].content.as_ref().unwrap().contains_key("17"));
}

#[test]
fn bad_entries_are_faults_among_good_ones() {
    let array =
        b"[{\"n\": 1}, 7, {\"n\": \xff}, , {\"n\"; 2}, {\"n\": 3} {\"n\": 4}, {\"n\": 5}] x";
    let wanted = [
        entry(1, None, "1"),
        entry(2, None, "not_an_object"),
        entry(3, None, "not_utf8"),
        entry(4, None, "not_json"),
        entry(5, None, "not_json"),
        entry(6, None, "not_json"),
        entry(7, None, "5"),
        (At::File, "not_json".to_owned()),
    ];
    assert_eq!(summary(&read("a.json", array)), wanted);
    let object = b"{\n\"a\": {\"n\": 1}, b: {\"n\": 2}, \"c\" {\"n\": 3}, \"d\": {\"n\": 4}\n}";
    let wanted = [
        entry(1, Some("a"), "1"),
        entry(2, None, "not_json"),
        entry(3, None, "not_json"),
        entry(4, Some("d"), "4"),
    ];
    assert_eq!(summary(&read("a.json", object)), wanted);
}

#[test]
fn what_comes_before_a_cut_is_delivered_and_the_cut_is_one_fault() {
    let many: Vec<String> = (0..5_000).map(|n| format!("{{\"n\": {n}}}")).collect();
    let lines = many.join("\n");
    let array = format!("[{}]", many.join(","));
    let keyed: Vec<String> =
        many.iter().enumerate().map(|(k, v)| format!("\"{k}\": {v}")).collect();
    let object = format!("{{{}}}", keyed.join(","));
    for (name, text, may_be_clean) in
        [("a.jsonl", &lines, true), ("a.json", &array, false), ("a.json", &object, false)]
    {
        for (ending, bytes) in [
            ("", text.clone().into_bytes()),
            (".zst", zstd_of(text.as_bytes())),
            (".gz", gzip_of(text.as_bytes())),
        ] {
            for cut in [7, 3, 2] {
                let part = &bytes[..bytes.len() - bytes.len() / cut];
                let items = read(&format!("{name}{ending}"), part);
                let (good, bad) = items.split_at(
                    items.iter().position(|item| item.content.is_err()).unwrap_or(items.len()),
                );
                for (n, item) in good.iter().enumerate() {
                    assert_eq!(item.content.as_ref().unwrap()["n"], n);
                }
                // A text that is cut between two lines is whole.
                let is_clean = bad.is_empty() && may_be_clean && ending.is_empty();
                assert!(is_clean || bad.len() == 1, "{name}{ending} {cut}: {bad:?}");
                for item in bad {
                    assert_eq!(item.content.as_ref().unwrap_err().reason, Reason::CutOff);
                }
                // Decoders hand out what they have in blocks; plain text is cut exactly.
                if ending.is_empty() {
                    assert!(good.len() > 2_000, "{name} {cut}: {}", good.len());
                }
            }
        }
    }
}

#[test]
fn damage_in_compressed_data_is_one_fault_after_what_is_whole() {
    // Noise does not compress, so the damage is far from the first block.
    let mut state = 1_u64;
    let mut text = String::new();
    for n in 0..40_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        writeln!(text, "{{\"n\": {n}, \"s\": \"{state:x}\"}}").unwrap();
    }
    for mut bytes in [zstd_of(text.as_bytes()), gzip_of(text.as_bytes())] {
        let middle = bytes.len() / 2;
        for byte in &mut bytes[middle..middle + 64] {
            *byte ^= 0x5a;
        }
        let items = read("a.jsonl", &bytes);
        let last = items.last().unwrap();
        assert!(items.len() > 1_000, "{}", items.len());
        let reason = last.content.as_ref().unwrap_err().reason;
        assert!(matches!(reason, Reason::Damaged | Reason::CutOff), "{reason:?}");
    }
}

#[test]
fn files_that_hold_nothing_useful_say_so() {
    for (name, bytes, reason) in [
        ("a.json", &b" "[..], "cut_off"),
        ("a.parquet", b"hello", "damaged"),
        ("a.parquet", b"PAR1 and no more", "cut_off"),
        ("a.parquet", b"PAR1\x00\x00\x00\xffPAR1", "damaged"),
        ("a.zst", &[0x28, 0xb5, 0x2f, 0xfd], "cut_off"),
        ("a.gz", &[0x1f, 0x8b, 8], "cut_off"),
    ] {
        let items = read(name, bytes);
        assert_eq!(items.len(), 1, "{name} {items:?}");
        assert_eq!(items[0].content.as_ref().unwrap_err().reason.name(), reason, "{name}");
    }
    for nothing in [&b""[..], b"\n \n"] {
        assert_eq!(read("a.jsonl", nothing), [], "no lines are no fault");
        assert_eq!(read("a.jsonl.zst", &zstd_of(nothing)), []);
    }
}

#[test]
fn a_file_that_is_absent_or_a_folder_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("absent.jsonl"), folder.path().to_owned()] {
        let error = ObjectReader::open(&path, &InputOptions::default()).err().unwrap();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn bytes_are_counted_as_they_are_on_the_disk() {
    let text = "{\"n\": 1}\n".repeat(10_000);
    let bytes = zstd_of(text.as_bytes());
    let file = made("a.jsonl.zst", &bytes);
    let mut reader = ObjectReader::open(&file.path, &InputOptions::default()).unwrap();
    while !reader.next_batch().unwrap().is_empty() {}
    assert_eq!(reader.bytes_read(), bytes.len() as u64);
}
