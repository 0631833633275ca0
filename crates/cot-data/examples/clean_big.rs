//! Cleans a synthetic file of a given size and prints the highest resident memory, which
//! must not grow with the file but for a few bytes a record.
//!
//! `cargo run --release -p limbeck-cot-data --example clean_big -- MEGABYTES [MEMORY_MIB]`
//!
//! The file and the tables lie in the system's folder for temporary files; with the file
//! it needs about twice its size there.

use std::fs;
use std::io::{BufWriter, Write};
use std::time::Instant;

use limbeck_cot_data::{CleanConfig, CotRecord, JsonlSource, Source, clean};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let (megabytes, memory_mib) = match arguments.as_slice() {
        [megabytes] => (*megabytes, CleanConfig::default().memory_mib),
        [megabytes, memory_mib] => (*megabytes, *memory_mib as usize),
        _ => return Err("usage: clean_big MEGABYTES [MEMORY_MIB]".into()),
    };
    let path = std::env::temp_dir().join(format!("limbeck-clean-big-{}.jsonl", std::process::id()));
    let cleaned = write(&path, megabytes * 1_000_000).and_then(|()| {
        let config = CleanConfig { memory_mib, ..CleanConfig::default() };
        let source = JsonlSource { paths: vec![path.clone()] };
        let start = Instant::now();
        let report = clean(&source, &config, |_| Ok(()), |_| Ok(()))?;
        Ok((report, start.elapsed().as_secs_f64()))
    });
    fs::remove_file(&path)?;
    let (report, seconds) = cleaned?;
    eprintln!("{report:#?}");
    println!("{megabytes} MB, {} records, {memory_mib} MiB for tables", report.num_read);
    println!("{seconds:.1} s, {:.0} records/s", report.num_read as f64 / seconds);
    println!("peak resident memory: {}", peak_memory().unwrap_or("unknown here".to_owned()));
    Ok(())
}

/// Records of about 700 bytes, of which one in twenty repeats an earlier one nearly and one
/// in a hundred exactly.
fn write(path: &std::path::Path, num_bytes: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    let (mut written, mut number) = (0, 0_u64);
    while written < num_bytes {
        let base = if number % 20 == 7 || number % 100 == 13 { number / 2 } else { number };
        let mut question = sentence(base, 46);
        if number % 20 == 7 {
            question.push_str(" indeed");
        }
        let record = CotRecord {
            id: format!("big-{number}"),
            question,
            thought_process: (0..4).map(|step| sentence(number ^ (step << 40), 12)).collect(),
            answer: (number % 997).to_string(),
            domain: "arithmetic".to_owned(),
            source: Source { name: "synthetic".to_owned(), ..Source::default() },
            ..CotRecord::default()
        };
        let line = serde_json::to_string(&record)?;
        writeln!(out, "{line}")?;
        written += line.len() as u64 + 1;
        number += 1;
    }
    Ok(out.flush()?)
}

fn sentence(key: u64, num_words: u64) -> String {
    let mut state = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let words: Vec<String> = (0..num_words)
        .map(|_| {
            state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^= state >> 31;
            let letters = [b'a' + (state % 20) as u8, b'a' + (state / 20 % 20) as u8];
            format!("w{}{}", letters[0] as char, letters[1] as char)
        })
        .collect();
    words.join(" ")
}

/// The system's own record of the process's largest resident set.
fn peak_memory() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
