//! Rules of this repository that no other tool checks. All findings are collected.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use crate::check::rust_source::code_only;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// The most lines a Rust file may have.
const MAX_LINES: usize = 600;
/// The most bytes a tracked file may have: what the fixture teacher needs.
const MAX_BYTES: u64 = 16 << 20;
/// Modules named for what they are not.
const VAGUE_NAMES: [&str; 6] =
    ["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs", "shared.rs"];
/// Folders of one machine. Written in two parts, so that this file holds none of them.
const MACHINE_FOLDERS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
/// Notes of unfinished work; in two parts likewise.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("todo", "!(")];
/// The files that may contain unsafe code, each with a reason beside the code.
const UNSAFE_ALLOWED: [&str; 12] = [
    "crates/core/src/elements.rs",
    "crates/core/src/huge_pages.rs",
    "crates/core/src/lanes.rs",
    "crates/core/src/team.rs",
    "crates/core/src/tensor_file.rs",
    "crates/limbeck/src/memory.rs",
    "crates/quant/src/kernels/byte_lanes.rs",
    "crates/quant/src/kernels/code_lanes.rs",
    "crates/quant/src/kernels/product.rs",
    "crates/quant/src/kernels/rounded_product.rs",
    "crates/quant/src/nf4/levels.rs",
    "crates/quant/src/tile.rs",
];
/// Packages that xtask must never need: it runs before libtorch is there.
const FORBIDDEN_IN_XTASK: [&str; 2] = ["tch", "torch-sys"];

/// One offence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// `path` or `path:line`.
    place: String,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.what)
    }
}

/// All offences in the tracked files and in xtask's dependencies.
pub(super) fn findings(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tracked(workspace)? {
        let full = workspace.path(&path);
        // Deleted but not yet committed, or a link to a folder.
        let Ok(metadata) = fs::metadata(&full) else { continue };
        if !metadata.is_file() {
            continue;
        }
        check_size(&path, metadata.len(), &mut findings);
        let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        if let Some(text) = as_text(&bytes) {
            check_text(&path, text, &mut findings);
        }
    }
    check_tree(&tree(workspace)?, &mut findings);
    Ok(findings)
}

/// Tracked files and new ones that git does not ignore.
fn tracked(workspace: &Workspace) -> Result<Vec<String>> {
    let output = std::process::Command::new("git")
        .current_dir(workspace.root())
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        return Err(Failure::of_child("git ls-files", output.status).into());
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn tree(workspace: &Workspace) -> Result<String> {
    let mut command = workspace.cargo();
    command.args(["tree", "--package", "xtask", "--edges", "all", "--prefix", "none"]);
    crate::child::output_of("cargo tree", &mut command)
}

/// A text file's content; binary files (with a zero byte at their start) are not read.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let start = &bytes[..bytes.len().min(8192)];
    if start.contains(&0) { None } else { std::str::from_utf8(bytes).ok() }
}

fn check_size(path: &str, bytes: u64, findings: &mut Vec<Finding>) {
    if bytes > MAX_BYTES {
        findings.push(Finding {
            place: path.to_owned(),
            what: format!("{bytes} bytes, at most {MAX_BYTES} are wanted in the repository"),
        });
    }
}

fn check_text(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut report = |line: Option<usize>, what: String| {
        let place = line.map_or(path.to_owned(), |line| format!("{path}:{}", line + 1));
        findings.push(Finding { place, what });
    };
    for (index, line) in text.lines().enumerate() {
        for folder in MACHINE_FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
            report(Some(index), format!("names {folder}, a folder of one machine"));
        }
        if is_ours(path) {
            for note in UNFINISHED.iter().filter(|note| has_word(line, note)) {
                report(Some(index), format!("{note}: finish it or file an issue"));
            }
        }
    }
    if Path::new(path).extension().is_none_or(|extension| extension != "rs") {
        return;
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        report(None, format!("{lines} lines, split it: at most {MAX_LINES}"));
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if VAGUE_NAMES.contains(&name) {
        report(None, "name the file for the one concept it holds".to_owned());
    }
    if !text.trim_start().starts_with("//!") {
        report(Some(0), "begins without a //! line that says what it is for".to_owned());
    }
    if !UNSAFE_ALLOWED.contains(&path) {
        for (index, line) in code_only(text).lines().enumerate() {
            if has_word(line, "unsafe") {
                report(Some(index), "unsafe code outside the files meant for it".to_owned());
            }
        }
    }
}

/// Code, scripts and configuration; prose and data may use the words.
fn is_ours(path: &str) -> bool {
    let endings = [".rs", ".py", ".sh", ".toml", ".yml", ".yaml", "/run"];
    !path.starts_with("fixtures/") && endings.iter().any(|ending| path.ends_with(ending))
}

/// Whether the line names the folder itself, not an address or a longer path that merely
/// contains its name.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(index, _)| {
        let before = line[..index].chars().next_back();
        before.is_none_or(|char| !char.is_alphanumeric() && !"._-~}".contains(char))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(index, _)| {
        let before = line[..index].chars().next_back();
        let after = line[index + word.len()..].chars().next();
        let open = word.ends_with('(');
        !before.is_some_and(part) && (open || !after.is_some_and(part))
    })
}

fn check_tree(tree: &str, findings: &mut Vec<Finding>) {
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if FORBIDDEN_IN_XTASK.contains(&name) {
            findings.push(Finding {
                place: "xtask/Cargo.toml".to_owned(),
                what: format!("depends on {name}, but must run before libtorch is there"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in a file of this path and text, as they are shown.
    fn check(path: &str, text: &str, expect: &[&str]) {
        let mut findings = Vec::new();
        check_text(path, text, &mut findings);
        let shown: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(shown, expect, "{path}");
    }

    #[test]
    fn a_tidy_file_has_no_findings() {
        check("crates/core/src/lib.rs", "//! Core.\n\nfn f() {}\n", &[]);
        check("README.md", "Put it under ~/models or /opt/models.", &[]);
    }

    #[test]
    fn long_and_vaguely_named_files_are_found() {
        let long = format!("//! Long.\n{}", "\n".repeat(600));
        check("crates/x/src/a.rs", &long, &["crates/x/src/a.rs: 601 lines, split it: at most 600"]);
        check(
            "crates/x/src/utils.rs",
            "//! Things.\n",
            &["crates/x/src/utils.rs: name the file for the one concept it holds"],
        );
        check(
            "xtask/src/a.rs",
            "fn f() {}\n",
            &["xtask/src/a.rs:1: begins without a //! line that says what it is for"],
        );
    }

    #[test]
    fn machine_paths_are_found_in_any_text() {
        let folder = MACHINE_FOLDERS[0];
        let text = format!("fine\nmodel = \"{folder}me/model\"\n");
        check(
            "configs/a.toml",
            &text,
            &[&format!("configs/a.toml:2: names {folder}, a folder of one machine")],
        );
        check("a.md", &format!("https://example.org{folder}x and $X{folder}"), &[]);
    }

    #[test]
    fn unfinished_work_is_found_in_code_but_not_in_prose() {
        let note = UNFINISHED[0];
        let text = format!("//! A.\n// {note}: later\n");
        let expect = format!("crates/x/src/a.rs:2: {note}: finish it or file an issue");
        check("crates/x/src/a.rs", &text, &[&expect]);
        check("README.md", &text, &[]);
        check("crates/x/src/a.rs", &format!("//! A{note}B.\n"), &[]);
    }

    #[test]
    fn unsafe_code_is_found_but_not_the_word() {
        let text = "//! Not unsafe.\nfn f() { unsafe { g(\"unsafe\") } }\n";
        check(
            "crates/x/src/a.rs",
            text,
            &["crates/x/src/a.rs:2: unsafe code outside the files meant for it"],
        );
        check(UNSAFE_ALLOWED[0], text, &[]);
    }

    #[test]
    fn large_files_and_libtorch_in_xtask_are_found() {
        let mut findings = Vec::new();
        check_size("fixtures/a.bin", MAX_BYTES, &mut findings);
        check_tree("xtask v0.1.0\nclap v4.6.9\n", &mut findings);
        assert_eq!(findings, []);
        check_size("fixtures/a.bin", MAX_BYTES + 1, &mut findings);
        check_tree("xtask v0.1.0\ntch v0.26.0\n", &mut findings);
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn binary_files_are_not_read_as_text() {
        assert_eq!(as_text(b"text"), Some("text"));
        assert_eq!(as_text(b"\x08\x00\x00"), None);
        assert_eq!(as_text(b"\xFF\xFE"), None);
    }
}
