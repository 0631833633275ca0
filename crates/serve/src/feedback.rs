//! `POST /v1/feedback`: what people thought of a reply, kept on disk.
//!
//! SQLite with a write-ahead log and a sync for each record: what was answered with 200 is
//! there after a power cut. The table holds all that a training record is made of.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::model_info::unix_seconds;
use crate::openai::error::{ApiError, ApiResult};
use crate::openai::fields::Fields;
use crate::recent::{RecentReplies, RecentReply, Reply};
use crate::{Error, Result};

/// The version of the tables below, in the file's `user_version`.
const SCHEMA_VERSION: i64 = 1;

/// Adapters and messages are JSON; `wrong_step` counts the chain's lines that are not empty,
/// from 0.
const SCHEMA: &str = "
CREATE TABLE feedback (
    id INTEGER PRIMARY KEY,
    request_id TEXT,
    choice INTEGER NOT NULL,
    model TEXT NOT NULL,
    adapters TEXT NOT NULL,
    prompt TEXT NOT NULL,
    prompt_kind TEXT NOT NULL CHECK (prompt_kind IN ('text', 'messages')),
    reasoning TEXT,
    reply TEXT NOT NULL,
    rating INTEGER CHECK (rating IN (-1, 1)),
    edited_answer TEXT,
    wrong_step INTEGER CHECK (wrong_step >= 0),
    comment TEXT,
    client TEXT NOT NULL,
    served INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX feedback_request ON feedback (request_id);
CREATE INDEX feedback_created ON feedback (created);
";

/// One person's word on one reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Feedback {
    /// The reply and what it answered.
    about: RecentReply,
    choice: usize,
    /// Whether this server remembers the reply, rather than the client telling it.
    served: bool,
    rating: Option<i64>,
    edited_answer: Option<String>,
    wrong_step: Option<usize>,
    comment: Option<String>,
}

impl Feedback {
    /// Reads a body: `request_id` of a recent reply, or else `prompt` or `messages`, `reply`
    /// and perhaps `reasoning`; and at least one of `rating` (-1 or 1), `edited_answer`,
    /// `wrong_step` and `comment`.
    ///
    /// # Errors
    /// 400 for what does not fit together, 404 for a reply that is not remembered.
    pub(crate) fn parse(body: &[u8], recent: &RecentReplies, model: &str) -> ApiResult<Self> {
        let mut fields = Fields::parse(body)?;
        let request_id = fields.string("request_id")?;
        let choice = fields.count("choice", 0..=1023)?.unwrap_or(0);
        let told = Told::take(&mut fields)?;
        let (about, served) = match request_id.as_deref().and_then(|id| recent.find(id)) {
            Some(known) => (known, true),
            None => (told.into_reply(request_id, model)?, false),
        };
        let reply_choice = if served { choice } else { 0 };
        let Some(reply) = about.choices.get(reply_choice) else {
            let message = format!("the reply has {} choices, from 0", about.choices.len());
            return Err(ApiError::parameter("choice", message));
        };
        let rating = fields.integer("rating", -1..=1)?;
        if rating == Some(0) {
            return Err(ApiError::parameter(
                "rating",
                "`rating` is expected to be -1 or 1, found 0",
            ));
        }
        let edited_answer = fields.string("edited_answer")?;
        let wrong_step = fields.count("wrong_step", 0..=1 << 20)?;
        if let Some(step) = wrong_step {
            let chain = reply.reasoning.as_deref().unwrap_or_default();
            let steps = chain.lines().filter(|line| !line.trim().is_empty()).count();
            if step >= steps {
                let message =
                    format!("`wrong_step` is {step}, the chain has {steps} steps, from 0");
                return Err(ApiError::parameter("wrong_step", message));
            }
        }
        let comment = fields.string("comment")?;
        if rating.is_none() && edited_answer.is_none() && wrong_step.is_none() && comment.is_none()
        {
            let message = "say at least one of `rating`, `edited_answer`, `wrong_step`, `comment`";
            return Err(ApiError::invalid(message));
        }
        fields.finish();
        let choice = reply_choice;
        Ok(Self { about, choice, served, rating, edited_answer, wrong_step, comment })
    }
}

/// What a client tells of a reply that the server no longer knows.
#[derive(Debug)]
struct Told {
    prompt: Option<Value>,
    reasoning: Option<String>,
    reply: Option<String>,
}

impl Told {
    fn take(fields: &mut Fields) -> ApiResult<Self> {
        let prompt = fields.string("prompt")?.map(Value::String);
        let messages = fields.take("messages").filter(Value::is_array);
        let reasoning = fields.string("reasoning")?;
        Ok(Self { prompt: messages.or(prompt), reasoning, reply: fields.string("reply")? })
    }

    fn into_reply(self, id: Option<String>, model: &str) -> ApiResult<RecentReply> {
        let Self { prompt: Some(prompt), reasoning, reply: Some(text) } = self else {
            return Err(ApiError::not_found(
                "`request_id` names no recent reply: send `messages` or `prompt`, and `reply`",
            ));
        };
        Ok(RecentReply {
            id: id.unwrap_or_default(),
            model: model.to_owned(),
            adapters: Vec::new(),
            prompt,
            choices: vec![Reply { reasoning, text }],
        })
    }
}

/// The file that keeps feedback.
#[derive(Debug)]
pub struct FeedbackStore {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl FeedbackStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// A file that SQLite cannot use, or of a later version.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Feedback { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        // Two servers may open a new file at once; the second must see the first's tables.
        let change = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed)?;
        let found: i64 =
            change.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        match found {
            0 => {
                change.execute_batch(SCHEMA).map_err(failed)?;
                change.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
            }
            SCHEMA_VERSION => {}
            _ => {
                let (path, known) = (path.to_owned(), SCHEMA_VERSION);
                return Err(Error::FeedbackVersion { path, found, known });
            }
        }
        change.commit().map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Keeps one record; it is on the disk when this returns. Gives its number.
    ///
    /// # Errors
    /// 500 if the disk does not take it.
    pub(crate) fn keep(&self, feedback: &Feedback, client: &str) -> ApiResult<Value> {
        let about = &feedback.about;
        let (prompt, kind) = match &about.prompt {
            Value::String(text) => (text.clone(), "text"),
            messages => (messages.to_string(), "messages"),
        };
        let Reply { reasoning, text } =
            about.choices.get(feedback.choice).cloned().unwrap_or_default();
        // A transaction that a panic cut off was rolled back when it was dropped.
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = connection.execute(
            "INSERT INTO feedback (request_id, choice, model, adapters, prompt, prompt_kind, \
             reasoning, reply, rating, edited_answer, wrong_step, comment, client, served, created) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            params![
                Some(&about.id).filter(|id| !id.is_empty()),
                feedback.choice as i64,
                about.model,
                json!(about.adapters).to_string(),
                prompt,
                kind,
                reasoning,
                text,
                feedback.rating,
                feedback.edited_answer,
                feedback.wrong_step.map(|step| step as i64),
                feedback.comment,
                client,
                i64::from(feedback.served),
                unix_seconds() as i64,
            ],
        );
        match kept {
            Ok(_) => Ok(json!({ "id": connection.last_insert_rowid(), "object": "feedback" })),
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "feedback could not be kept");
                Err(ApiError::internal("the feedback could not be kept"))
            }
        }
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`Error::Feedback`].
    pub fn count(&self) -> Result<u64> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let count: std::result::Result<i64, _> =
            connection.query_row("SELECT count(*) FROM feedback", [], |row| row.get(0));
        let count = count.map_err(|source| Error::Feedback { path: self.path.clone(), source })?;
        Ok(count as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent() -> RecentReplies {
        let recent = RecentReplies::new(4);
        let reasoning = Some("one\n\ntwo".to_owned());
        recent.remember(RecentReply {
            id: "r1".to_owned(),
            model: "m".to_owned(),
            adapters: vec![("law".to_owned(), 1.0)],
            prompt: json!([{ "role": "user", "content": "q" }]),
            choices: vec![Reply { reasoning, text: "a".to_owned() }],
        });
        recent
    }

    fn parse(body: &Value) -> ApiResult<Feedback> {
        Feedback::parse(body.to_string().as_bytes(), &recent(), "m")
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (body, status) in [
            (json!({ "request_id": "r1" }), 400),
            (json!({ "request_id": "r1", "rating": 0 }), 400),
            (json!({ "request_id": "r1", "rating": 2 }), 400),
            (json!({ "request_id": "r1", "wrong_step": 2 }), 400),
            (json!({ "request_id": "r1", "choice": 1, "rating": 1 }), 400),
            (json!({ "request_id": "r2", "rating": 1 }), 404),
            (json!({ "rating": 1, "prompt": "q" }), 404),
        ] {
            assert_eq!(parse(&body).unwrap_err().status(), status, "{body}");
        }
        assert!(parse(&json!({ "request_id": "r1", "wrong_step": 1 })).is_ok());
        let told = parse(&json!({ "rating": 1, "prompt": "q", "reply": "a" })).unwrap();
        assert!(!told.served);
    }

    #[test]
    fn records_are_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feedback.sqlite");
        let store = FeedbackStore::open(&path).unwrap();
        let given = parse(&json!({
            "request_id": "r1", "rating": -1, "wrong_step": 1, "edited_answer": "b"
        }));
        store.keep(&given.unwrap(), "key-1").unwrap();
        let mode: String = store
            .connection
            .lock()
            .unwrap()
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
        // Not closed: as after a kill.
        std::mem::forget(store);
        let store = FeedbackStore::open(&path).unwrap();
        assert_eq!(store.count().unwrap(), 1);
        let row: (String, String, i64, String, i64, String) = store
            .connection
            .lock()
            .unwrap()
            .query_row(
                "SELECT prompt, adapters, rating, edited_answer, wrong_step, reasoning FROM feedback",
                [],
                |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
                },
            )
            .unwrap();
        assert_eq!(row.0, r#"[{"role":"user","content":"q"}]"#);
        assert_eq!((row.1.as_str(), row.2, row.3.as_str()), (r#"[["law",1.0]]"#, -1, "b"));
        assert_eq!((row.4, row.5.as_str()), (1, "one\n\ntwo"));
    }

    #[test]
    fn a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feedback.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        drop(connection);
        let error = FeedbackStore::open(&path).unwrap_err();
        assert!(matches!(error, Error::FeedbackVersion { found: 9, known: 1, .. }), "{error}");
        std::fs::write(folder.path().join("text"), "no database, but long enough".repeat(99))
            .unwrap();
        let error = FeedbackStore::open(&folder.path().join("text")).unwrap_err();
        assert!(matches!(error, Error::Feedback { .. }), "{error}");
    }
}
