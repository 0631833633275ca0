//! Whether a folder holds the libtorch we need.

use std::fs;
use std::path::Path;

use crate::setup::TORCH_VERSION;

/// Libraries one of which any libtorch has: Linux, macOS, Windows.
const LIBRARIES: [&str; 3] = ["libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"];

/// `Ok` for the right version with headers and libraries, else the reason.
pub(crate) fn check(folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Err("there is no such folder".to_owned());
    }
    if !LIBRARIES.iter().any(|name| folder.join("lib").join(name).is_file()) {
        return Err("lib/ has no libtorch_cpu".to_owned());
    }
    match version(folder) {
        Some(version) if version == TORCH_VERSION => Ok(()),
        Some(version) => Err(format!("its version is {version}")),
        None => {
            Err("it has neither build-version nor include/torch/headeronly/version.h".to_owned())
        }
    }
}

/// The version without its local part (`+cpu`, `+cu130`).
fn version(folder: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(folder.join("build-version")) {
        let text = text.trim();
        return Some(text.split_once('+').map_or(text, |(version, _)| version).to_owned());
    }
    // A wheel has no build-version file. Older releases keep the numbers elsewhere.
    let headers =
        ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];
    headers.iter().find_map(|header| {
        let text = fs::read_to_string(folder.join(header)).ok()?;
        let number = |name: &str| {
            let define = format!("#define TORCH_VERSION_{name} ");
            text.lines().find_map(|line| line.strip_prefix(&define)).map(str::trim)
        };
        Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
    })
}

/// Makes the smallest folder that passes [`check`] with the given version.
#[cfg(test)]
pub(crate) fn fake(folder: &Path, version: &str) {
    let header = folder.join("include/torch/headeronly/version.h");
    fs::create_dir_all(header.parent().unwrap()).unwrap();
    fs::create_dir_all(folder.join("lib")).unwrap();
    fs::write(folder.join("lib/libtorch_cpu.so"), "library").unwrap();
    let parts: Vec<&str> = version.split('.').collect();
    let text = format!(
        "#define TORCH_VERSION_MAJOR {}\n#define TORCH_VERSION_MINOR {}\n#define TORCH_VERSION_PATCH {}\n",
        parts[0], parts[1], parts[2]
    );
    fs::write(header, text).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_either_place() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(check(&folder.join("none")), Err("there is no such folder".to_owned()));
        assert_eq!(check(folder), Err("lib/ has no libtorch_cpu".to_owned()));
        fake(folder, "2.12.1");
        assert_eq!(check(folder), Err("its version is 2.12.1".to_owned()));
        fake(folder, TORCH_VERSION);
        assert_eq!(check(folder), Ok(()));
        fs::write(folder.join("build-version"), "2.11.0+cpu\n").unwrap();
        assert_eq!(check(folder), Err("its version is 2.11.0".to_owned()));
        fs::write(folder.join("build-version"), format!("{TORCH_VERSION}+cu130\n")).unwrap();
        assert_eq!(check(folder), Ok(()));
    }
}
