//! `cuda-test`: the tests that take any device, and the smoke pipeline, on the first GPU.

use anyhow::Result;
use limbeck_run::Exit;

use crate::failure::Failure;
use crate::pipeline;
use crate::workspace::Workspace;
use crate::{gpu, setup, test};

/// The test targets that ask `limbeck_core::test_device` where to run. Each runs on the
/// CPU in `xtask test`.
const TARGETS: [&str; 21] = [
    "parity",
    "engine",
    "paged",
    "session",
    "training",
    "mixing",
    "optimizers",
    "recompute_dropout",
    "objective",
    "captured_teacher",
    "student",
    "adapters",
    "tiers",
    "determinism",
    "methods",
    "peer_folders",
    "quantized_decoder",
    "residency",
    "evaluation",
    "flow",
    "program",
];

/// Runs the tests of [`TARGETS`] and, if they pass, the smoke pipeline on `cuda:0`.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let names = gpu::names();
    let Some(first) = names.first() else {
        return Err(Failure::new(
            Exit::Missing,
            "no CUDA device on this machine: nothing was tested",
        )
        .into());
    };
    eprintln!("testing on {first}");
    setup::ensure(workspace)?;
    // One test at a time: libtorch loads its linear algebra for CUDA at the first call, and
    // two threads at once fail there.
    let arguments: Vec<&str> = TARGETS
        .iter()
        .flat_map(|target| ["--test", target])
        // Unit tests of layers that lie on devices in forms of their own.
        .chain(["--lib", "--", "--test-threads=1"])
        .collect();
    let device = [("LIMBECK_TEST_DEVICE", "cuda:0")];
    test::run_cargo(workspace, "CUDA tests", &arguments, &device)?;
    let mut smoke = pipeline::Args::of_file("configs/smoke.toml");
    smoke.overrides = vec![
        "pipeline.device=cuda:0".to_owned(),
        "pipeline.name=smoke-cuda".to_owned(),
        "pipeline.output=runs/smoke-cuda".to_owned(),
    ];
    smoke.fresh = true;
    pipeline::run(workspace, &smoke)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::TARGETS;

    /// Adds the names of the test targets under a folder whose files ask for a device.
    fn collect(folder: &Path, target: Option<&str>, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let target = target.unwrap_or(&name);
            if path.is_dir() {
                collect(&path, Some(target), found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                if ["test_device", "LIMBECK_TEST_DEVICE"].iter().any(|name| text.contains(name)) {
                    found.insert(target.to_owned());
                }
            }
        }
    }

    #[test]
    fn every_test_that_takes_a_device_is_listed() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let mut found = BTreeSet::new();
        for package in fs::read_dir(crates).unwrap() {
            collect(&package.unwrap().path().join("tests"), None, &mut found);
        }
        let listed: BTreeSet<String> = TARGETS.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(found, listed);
    }
}
