//! SHA-256 of files and folders: what manifests record and stages are skipped by.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    collect(folder, "", None, &mut hashes)?;
    Ok(hashes)
}

/// As [`sha256_files`], but what a stage's manifest says of a file that has not changed
/// since is taken from there: gigabytes of weights are not read again. A manifest is
/// written last, so that every file younger than it has changed.
///
/// # Errors
/// [`Error::Read`]; a manifest that is damaged.
pub fn sha256_files_as_recorded(folder: &Path) -> Result<BTreeMap<String, String>> {
    let path = folder.join(Manifest::FILE);
    let record = match Manifest::read(folder)? {
        Some(manifest) => Some((manifest.outputs, changed_at(&path)?)),
        None => None,
    };
    let mut hashes = BTreeMap::new();
    collect(folder, "", record.as_ref(), &mut hashes)?;
    Ok(hashes)
}

/// When a file was last modified or, where the system tells it, changed in any way: a file
/// that another one was moved or copied over with its old times has changed then.
fn changed_at(path: &Path) -> Result<SystemTime> {
    let failed = |source| Error::read(path, source);
    let metadata = fs::metadata(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let seconds = metadata.ctime().max(0) as u64;
        Ok(UNIX_EPOCH + Duration::new(seconds, metadata.ctime_nsec() as u32))
    }
    #[cfg(not(unix))]
    {
        metadata.modified().map_err(failed)
    }
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

/// Hashes by name, and when they were recorded.
type Record = (BTreeMap<String, String>, SystemTime);

fn collect(
    folder: &Path,
    prefix: &str,
    record: Option<&Record>,
    hashes: &mut BTreeMap<String, String>,
) -> Result<()> {
    let failed = |source| Error::read(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), record, hashes)?;
        } else if !LEFT_OUT.contains(&name.as_str()) {
            let name = format!("{prefix}{name}");
            let hash = match record.and_then(|(recorded, at)| Some((recorded.get(&name)?, at))) {
                Some((hash, at)) if changed_at(&path)? <= *at => hash.clone(),
                _ => sha256_file(&path)?,
            };
            hashes.insert(name, hash);
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
    fn what_a_manifest_records_is_not_read_again_unless_it_changed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        for name in ["kept", "changed", "moved"] {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::write(folder.join("old"), "from elsewhere").unwrap();
        let recorded = |name: &str| (name.to_owned(), "as recorded".to_owned());
        Manifest {
            outputs: BTreeMap::from(["kept", "changed", "moved"].map(recorded)),
            ..Manifest::default()
        }
        .write(folder)
        .unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(folder.join("changed"), "since").unwrap();
        fs::write(folder.join("new"), "new").unwrap();
        fs::rename(folder.join("old"), folder.join("moved")).unwrap();

        let hashes = sha256_files_as_recorded(folder).unwrap();
        let mut expected = sha256_files(folder).unwrap();
        expected.insert("kept".to_owned(), "as recorded".to_owned());
        #[cfg(unix)]
        assert_eq!(hashes, expected);
        assert_eq!(hashes["changed"], expected["changed"]);
        assert_eq!(hashes["new"], expected["new"]);
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = sha256_path(Path::new("no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read no/such/file");
    }
}
