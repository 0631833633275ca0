//! The last result that passed its gates, kept beside a run: a failed gate leaves it as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use limbeck_run::{Manifest, OutputDir, sha256_files_as_recorded};
use serde::{Deserialize, Serialize};

use crate::folder::write_json;
use crate::{Error, Result};

/// What is kept, as `last-good.json` within the folder holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastGood {
    /// When it was kept, seconds since 1970.
    pub created: u64,
    /// Commit of the sources, where known.
    pub commit: Option<String>,
    /// The kept folders by their name within this one: SHA-256 of each file.
    pub folders: BTreeMap<String, BTreeMap<String, String>>,
}

impl LastGood {
    /// The folder's name beside the outputs of a run.
    pub const FOLDER: &str = "last-good";
    /// The file's name within it.
    pub const FILE: &str = "last-good.json";

    /// What the folder keeps, `None` where there is none.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(Self::FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(limbeck_run::Error::read(&path, source).into()),
        };
        serde_json::from_str(&text).map(Some).map_err(|source| Error::Json {
            path,
            line: None,
            expected: "what passed its gates",
            source,
        })
    }

    /// Replaces what the folder keeps by these folders, as a whole: a killed process leaves
    /// the old or the new. Files are linked where the file system can: stages never write into
    /// a file that is there, they replace it, so that a link keeps the old content.
    ///
    /// # Errors
    /// A folder that cannot be read, two of one name, write errors; a folder in the way that was
    /// not made here.
    pub fn keep(folder: &Path, kept: &[PathBuf], commit: Option<String>) -> Result<Self> {
        let output = OutputDir::create(folder)?;
        let mut folders = BTreeMap::new();
        for source in kept {
            let name = source.file_name().unwrap_or(source.as_os_str()).to_string_lossy();
            // Before any file: linking over what is linked already would empty both.
            if folders.contains_key(&*name) {
                return Err(Error::Folder {
                    path: source.clone(),
                    expected: "kept folders of different names".to_owned(),
                    found: format!("{name} twice"),
                });
            }
            let hashes = sha256_files_as_recorded(source)?;
            for file in hashes.keys() {
                link(&source.join(file), &output.path().join(&*name).join(file))?;
            }
            folders.insert(name.into_owned(), hashes);
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Its manifest makes the folder one that may be replaced.
        let manifest = Manifest {
            stage: Self::FOLDER.to_owned(),
            commit: commit.clone(),
            ..Manifest::default()
        };
        let good = Self { created, commit, folders };
        write_json(&output.path().join(Self::FILE), &good)?;
        manifest.write(output.path())?;
        output.commit()?;
        Ok(good)
    }
}

/// Links a file, or copies it where that cannot be.
fn link(from: &Path, to: &Path) -> Result<()> {
    let failed = |source| limbeck_run::Error::write(to, source);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        // A copy onto a link of itself would empty it.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(failed(error).into())
        }
        Err(_) => Ok(fs::copy(from, to).map(drop).map_err(failed)?),
    }
}
