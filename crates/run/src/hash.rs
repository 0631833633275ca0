//! SHA-256 of files and folders: what manifests record and stages are skipped by.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::{Error, Manifest, Result, events, metrics, output_dir};

/// The SHA-256 of the bytes, in lower-case hexadecimal.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The SHA-256 of a file's content.
///
/// # Errors
/// [`Error::Read`].
pub fn sha256_file(path: &Path) -> Result<String> {
    let failed = |source| Error::read(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&hasher.finalize())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// The hash of each file of a folder by its relative name, with `/` between folders.
/// The manifest and the logs of a run (metrics, events) are left out: they hold times. So
/// is the mark of a folder in the making, which its last step removes.
///
/// # Errors
/// [`Error::Read`].
pub fn sha256_files(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    collect(folder, "", &mut hashes)?;
    Ok(hashes)
}

/// One hash for a set of named hashes, as [`sha256_files`] gives them and
/// [`Manifest::outputs`] keeps them: the hash that [`sha256_path`] gives the folder,
/// without reading the files again.
pub fn digest(hashes: &BTreeMap<String, String>) -> String {
    let mut listing = String::new();
    for (name, hash) in hashes {
        // Writing to a string cannot fail.
        let _ = writeln!(listing, "{hash}  {name}");
    }
    sha256_bytes(listing.as_bytes())
}

/// The hash of a file's content, or of a folder's names and contents (see
/// [`sha256_files`] for what is left out).
///
/// # Errors
/// [`Error::Read`].
pub fn sha256_path(path: &Path) -> Result<String> {
    if path.is_dir() { Ok(digest(&sha256_files(path)?)) } else { sha256_file(path) }
}

const LEFT_OUT: [&str; 4] = [Manifest::FILE, metrics::FILE, events::FILE, output_dir::FINGERPRINT];

fn collect(folder: &Path, prefix: &str, hashes: &mut BTreeMap<String, String>) -> Result<()> {
    let failed = |source| Error::read(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), hashes)?;
        } else if !LEFT_OUT.contains(&name.as_str()) {
            hashes.insert(format!("{prefix}{name}"), sha256_file(&path)?);
        }
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_hash_as_in_fips_180() {
        assert_eq!(
            sha256_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_folder_hash_sees_names_and_contents_but_no_logs() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("a"), "1").unwrap();
        fs::write(folder.join("sub/b"), "2").unwrap();
        let first = sha256_path(folder).unwrap();
        for log in ["manifest.json", "metrics.jsonl", "events.out.tfevents.limbeck"] {
            fs::write(folder.join(log), "time").unwrap();
        }
        assert_eq!(sha256_path(folder).unwrap(), first);
        assert_eq!(digest(&sha256_files(folder).unwrap()), first);

        fs::write(folder.join("sub/b"), "3").unwrap();
        let changed = sha256_path(folder).unwrap();
        assert_ne!(changed, first);
        fs::rename(folder.join("sub/b"), folder.join("sub/c")).unwrap();
        assert_ne!(sha256_path(folder).unwrap(), changed);
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = sha256_path(Path::new("no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read no/such/file");
    }
}
