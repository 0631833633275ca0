//! Prints generated records as JSON Lines.
//!
//! `cargo run --release -p limbeck-cot-data --example generate -- FAMILY|all LEVEL|all COUNT SEED`

use std::io::Write;

use limbeck_cot_data::{Family, Shard, generate_many};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [family, level, count, seed] = arguments.as_slice() else {
        return Err("usage: generate FAMILY|all LEVEL|all COUNT SEED".into());
    };
    let families = match family.as_str() {
        "all" => Family::ALL.to_vec(),
        name => vec![name.parse::<Family>()?],
    };
    let level = if level == "all" { None } else { Some(level.parse()?) };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for family in families {
        for record in generate_many(family, level, count.parse()?, seed.parse()?, Shard::WHOLE)? {
            writeln!(out, "{}", serde_json::to_string(&record)?)?;
        }
    }
    Ok(())
}
