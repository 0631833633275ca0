//! `{"messages": [{"role", "content"}], …}`, the form of Mixture-of-Thoughts and of most
//! tools that train on conversations. The format has no data set of its own.

use serde_json::{Map, Value};

use super::conversation;
use super::converted::{Converted, NO_LICENSE, Origin, Refusal, keep, list};

const ORIGIN: Origin =
    Origin { name: "messages", license: NO_LICENSE, teacher: None, domain: "general" };

pub(super) fn convert(mut object: Map<String, Value>) -> Result<Converted, Refusal> {
    let messages = list(&mut object, "messages")?;
    let mut record = conversation::record(&ORIGIN, "messages", messages, None, &mut object)?;
    keep(&mut record, object);
    Ok(Converted::one(record))
}
