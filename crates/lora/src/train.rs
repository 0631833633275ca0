//! The training run of an adapter: the trainer's, on the adapter's parameters alone.

use limbeck_model::Decoder;
use limbeck_train::{Example, TrainReport, Trainer};

use crate::{Adapter, Result};

/// Trains an attached adapter on rendered records. The trainer's configuration is
/// [`crate::LoraConfig::train`]; a checkpoint in its output folder is resumed.
///
/// # Errors
/// Those of the trainer.
pub fn train(
    decoder: &Decoder,
    adapter: &Adapter,
    examples: &[Example],
    validation: &[Example],
    trainer: &Trainer<'_>,
) -> Result<TrainReport> {
    adapter.set_trainable(true)?;
    tracing::info!("{}", adapter.trainable_share(decoder));
    let mut objective = adapter.objective(trainer.config.head_chunk_rows);
    let parameters = adapter.trainable_parameters();
    Ok(trainer.run(decoder, parameters, examples, validation, objective.as_mut())?)
}
