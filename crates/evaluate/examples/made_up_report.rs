//! Writes a report of made-up evaluations into a folder, to look at the page without
//! training anything: `cargo run --release -p limbeck-evaluate --example made_up_report DIR`.

#[path = "../tests/made_up/mod.rs"]
mod made_up;

use limbeck_evaluate::Report;
use limbeck_run::Manifest;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let output: std::path::PathBuf = std::env::args_os().nth(1).ok_or("expected a folder")?.into();
    let records = made_up::records(20);
    let mut folders = Vec::new();
    for model in 0..made_up::MODELS.len() {
        let folder = output.join(made_up::MODELS[model].0);
        std::fs::create_dir_all(&folder)?;
        made_up::evaluation(model, &records).write(&folder)?;
        let manifest = Manifest {
            stage: "evaluate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: "cpu".to_owned(),
            seed: 7,
            commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            inputs: ["model", "task"]
                .map(|name| (name.to_owned(), limbeck_run::sha256_bytes(name.as_bytes())))
                .into(),
            nondeterministic: vec!["time, speed and memory".to_owned()],
            ..Manifest::default()
        };
        manifest.write(&folder)?;
        folders.push(folder);
    }
    let report = Report::read(&folders)?;
    report.write(&output)?;
    print!("{}", report.table());
    Ok(())
}
