//! The `[quantize]` table: the settings of quantisation, the repair's under `repair` and the
//! gate's under `gate`.

use limbeck_distill::RepairConfig;
use limbeck_evaluate::GateConfig;
use limbeck_quant::QuantizeConfig;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The whole table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(crate) struct QuantizeTable {
    /// How the model is quantised.
    #[serde(flatten)]
    pub(crate) quantize: QuantizeConfig,
    /// What is done afterwards to win back what was lost.
    pub(crate) repair: RepairConfig,
    /// What may be lost by it.
    pub(crate) gate: GateConfig,
}

impl TryFrom<Map<String, Value>> for QuantizeTable {
    type Error = serde_json::Error;

    /// Unknown keys are refused in all parts, which a derived flattening cannot do.
    fn try_from(mut table: Map<String, Value>) -> Result<Self, Self::Error> {
        let mut part = |name: &str| table.remove(name).unwrap_or_else(|| Value::Object(Map::new()));
        let gate = serde_json::from_value(part("gate"))?;
        let repair = serde_json::from_value(part("repair"))?;
        Ok(Self { quantize: serde_json::from_value(Value::Object(table))?, repair, gate })
    }
}

impl Validate for QuantizeTable {
    fn validate(&self) -> Result<(), Invalid> {
        self.quantize.validate()?;
        self.repair.validate().map_err(|invalid| invalid.within("repair"))?;
        self.gate.validate().map_err(|invalid| invalid.within("gate"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_refuse_unknown_keys_and_survive_writing() {
        let read = |text: &str| serde_json::from_str::<QuantizeTable>(text);
        let table = read(r#"{"bits": 8, "gate": {"records": 3}}"#).unwrap();
        assert_eq!((table.quantize.bits, table.gate.records), (8, 3));
        assert_eq!(read(&serde_json::to_string(&table).unwrap()).unwrap(), table);
        for (text, key) in [
            (r#"{"bts": 8}"#, "bts"),
            (r#"{"repair": {"step": 3}}"#, "step"),
            (r#"{"gate": {"record": 3}}"#, "record"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
