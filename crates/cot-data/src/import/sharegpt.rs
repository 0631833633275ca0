//! `ShareGPT`: `{"conversations": [{"from", "value"}], …}` with many names for the roles.
//! The format has no data set of its own.

use serde_json::{Map, Value};

use super::conversation;
use super::converted::{Converted, NO_LICENSE, Origin, Refusal, keep, list, scalar};

const ORIGIN: Origin =
    Origin { name: "sharegpt", license: NO_LICENSE, teacher: None, domain: "general" };

pub(super) fn convert(object: Map<String, Value>) -> Result<Converted, Refusal> {
    of_origin(&ORIGIN, object)
}

/// The same for a data set in this format.
pub(super) fn of_origin(
    origin: &Origin,
    mut object: Map<String, Value>,
) -> Result<Converted, Refusal> {
    let turns = list(&mut object, "conversations")?;
    let system = scalar(&mut object, "", "system")?;
    let mut record = conversation::record(origin, "conversations", turns, system, &mut object)?;
    keep(&mut record, object);
    Ok(Converted::one(record))
}
