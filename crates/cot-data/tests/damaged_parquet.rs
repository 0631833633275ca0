//! Damage that makes the Parquet reader panic is told as a fault, and nothing else is said.
//! In a process of its own, since it watches what panics print.
#![cfg(feature = "parquet")]

use std::fs;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};

use limbeck_cot_data::{
    Family, InputOptions, ObjectReader, Shard, generate_many, rejects, write_records,
};

static NUM_PRINTED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_reader_that_panics_prints_nothing() {
    panic::set_hook(Box::new(|_| _ = NUM_PRINTED.fetch_add(1, Ordering::Relaxed)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.parquet");
    let records = generate_many(Family::Arith, None, 3, 1, Shard::WHOLE).unwrap();
    write_records(&path, &records).unwrap();
    let whole = fs::read(&path).unwrap();
    let (mut num_faults, mut num_panics) = (0, 0);
    for at in (4..whole.len() - 8).step_by(5) {
        for mask in [0xff, 0x10] {
            let mut damaged = whole.clone();
            damaged[at] ^= mask;
            fs::write(&path, damaged).unwrap();
            let mut reader = ObjectReader::open(&path, &InputOptions::default()).unwrap();
            let mut items = Vec::new();
            loop {
                let batch = reader.next_batch().unwrap();
                if batch.is_empty() {
                    break;
                }
                items.extend(batch);
            }
            for fault in items.into_iter().filter_map(|item| item.content.err()) {
                assert_eq!(fault.reason, rejects::Reason::Damaged, "byte {at}: {fault:?}");
                num_faults += 1;
                num_panics += usize::from(fault.detail.contains("what cannot be read"));
            }
        }
    }
    println!("{num_faults} faults, {num_panics} of them panics");
    assert!(num_panics > 0 && num_faults > num_panics, "{num_faults}, {num_panics}");
    assert_eq!(NUM_PRINTED.load(Ordering::Relaxed), 0);
}
