//! OpenThoughts-114k: `ShareGPT`'s form with `<|begin_of_thought|>` and
//! `<|begin_of_solution|>` marks; DeepSeek-R1 wrote the chains.

use serde_json::{Map, Value};

use super::converted::{Converted, Origin, Refusal};
use super::sharegpt;

const ORIGIN: Origin = Origin {
    name: "open-thoughts/OpenThoughts-114k",
    license: "Apache-2.0",
    teacher: Some("deepseek-ai/DeepSeek-R1"),
    domain: "general",
};

pub(super) fn convert(object: Map<String, Value>) -> Result<Converted, Refusal> {
    sharegpt::of_origin(&ORIGIN, object)
}
