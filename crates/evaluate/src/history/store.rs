//! The database: SQLite with a write-ahead log, so that a run adds while another is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::Entry;
use super::{page, table};
use crate::{Error, Result};

/// The version of the table below, in the file's `user_version`.
const VERSION: i64 = 1;
/// `LMBH` in the file's header: no other program's database is taken for a history.
const APPLICATION: i64 = 0x4c4d_4248;

const SCHEMA: &str = "
CREATE TABLE evaluation (
    evaluation TEXT NOT NULL,
    model TEXT NOT NULL,
    run TEXT NOT NULL,
    name TEXT NOT NULL,
    evaluated INTEGER NOT NULL,
    commit_hash TEXT,
    device TEXT NOT NULL,
    hardware TEXT NOT NULL,
    n INTEGER NOT NULL,
    solved INTEGER NOT NULL,
    accuracy REAL NOT NULL,
    accuracy_low REAL NOT NULL,
    accuracy_high REAL NOT NULL,
    completion REAL NOT NULL,
    step_validity REAL,
    mean_reply_tokens REAL NOT NULL,
    weight_bytes INTEGER NOT NULL,
    tokens_per_second REAL NOT NULL,
    time_to_first_token REAL,
    peak_memory_bytes INTEGER,
    stage_seconds REAL,
    PRIMARY KEY (evaluation, model)
) STRICT;
";

const COLUMNS: &str = "evaluation, model, run, name, evaluated, commit_hash, device, hardware, n, \
    solved, accuracy, accuracy_low, accuracy_high, completion, step_validity, mean_reply_tokens, \
    weight_bytes, tokens_per_second, time_to_first_token, peak_memory_bytes, stage_seconds";

/// A history's database.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    connection: Connection,
}

impl History {
    /// Opens a history, or makes one.
    ///
    /// # Errors
    /// A file that is no database, another program's, or a later version's.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with(path, OpenFlags::default())
    }

    /// Opens a history that is there.
    ///
    /// # Errors
    /// As [`Self::open`], and none being there.
    pub fn open_existing(path: &Path) -> Result<Self> {
        if !path.is_file() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(limbeck_run::Error::read(path, missing).into());
        }
        Self::with(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
    }

    fn with(path: &Path, flags: OpenFlags) -> Result<Self> {
        let failed = |source| Error::Database { path: path.to_owned(), source };
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed)?;
        let number = |name: &str| {
            transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed)
        };
        let tables: i64 = transaction
            .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
            .map_err(failed)?;
        let (version, application) = (number("user_version")?, number("application_id")?);
        match (tables, version, application) {
            (0, 0, 0) => {
                transaction.execute_batch(SCHEMA).map_err(failed)?;
                transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
                transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
            }
            (_, VERSION, APPLICATION) => {}
            (_, version, application) => {
                return Err(Error::DatabaseVersion {
                    path: path.to_owned(),
                    expected: VERSION,
                    found: if application == APPLICATION {
                        format!("version {version}")
                    } else {
                        "another program's database".to_owned()
                    },
                });
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Adds entries, all or none; those that are there already stay as they are. Gives how many
    /// were new.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn add(&mut self, entries: &[Entry]) -> Result<usize> {
        let path = self.path.clone();
        let failed = |source| Error::Database { path: path.clone(), source };
        let transaction = self.connection.transaction().map_err(failed)?;
        let mut added = 0;
        {
            let places = vec!["?"; COLUMNS.split(',').count()].join(", ");
            let sql = format!("INSERT OR IGNORE INTO evaluation ({COLUMNS}) VALUES ({places})");
            let mut insert = transaction.prepare(&sql).map_err(failed)?;
            for entry in entries {
                added += insert
                    .execute(params![
                        entry.evaluation,
                        entry.model,
                        entry.run,
                        entry.name,
                        entry.evaluated,
                        entry.commit,
                        entry.device,
                        entry.hardware,
                        entry.n as i64,
                        entry.solved as i64,
                        entry.accuracy,
                        entry.accuracy_low,
                        entry.accuracy_high,
                        entry.completion,
                        entry.step_validity,
                        entry.mean_reply_tokens,
                        entry.weight_bytes as i64,
                        entry.tokens_per_second,
                        entry.time_to_first_token,
                        entry.peak_memory_bytes.map(|bytes| bytes as i64),
                        entry.stage_seconds,
                    ])
                    .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(added)
    }

    /// All entries, the oldest first.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let failed = |source| Error::Database { path: self.path.clone(), source };
        let sql = format!("SELECT {COLUMNS} FROM evaluation ORDER BY evaluated, rowid");
        let mut select = self.connection.prepare(&sql).map_err(failed)?;
        let rows = select.query_map([], entry).map_err(failed)?;
        rows.collect::<rusqlite::Result<Vec<Entry>>>().map_err(failed)
    }

    /// The entries as a table for a terminal.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn table(&self) -> Result<String> {
        Ok(table::text(&self.entries()?))
    }

    /// The page with the trends.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn page(&self) -> Result<String> {
        page::render(&self.entries()?)
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        evaluation: row.get(0)?,
        model: row.get(1)?,
        run: row.get(2)?,
        name: row.get(3)?,
        evaluated: row.get(4)?,
        commit: row.get(5)?,
        device: row.get(6)?,
        hardware: row.get(7)?,
        n: row.get::<_, i64>(8)? as u64,
        solved: row.get::<_, i64>(9)? as u64,
        accuracy: row.get(10)?,
        accuracy_low: row.get(11)?,
        accuracy_high: row.get(12)?,
        completion: row.get(13)?,
        step_validity: row.get(14)?,
        mean_reply_tokens: row.get(15)?,
        weight_bytes: row.get::<_, i64>(16)? as u64,
        tokens_per_second: row.get(17)?,
        time_to_first_token: row.get(18)?,
        peak_memory_bytes: row.get::<_, Option<i64>>(19)?.map(|bytes| bytes as u64),
        stage_seconds: row.get(20)?,
    })
}
