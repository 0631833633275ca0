//! Tuning what a packed model has left to tune against the unquantised one.

use anyhow::Result;
use limbeck_core::DType;
use limbeck_distill::{Lessons, Norms, Repair, RepairConfig, Text, TunedPart};
use limbeck_model::Decoder;
use limbeck_quant::OpenScales;
use limbeck_run::Progress;
use tch::Tensor;

use super::calibration::CalibrationTexts;

/// What allocator and threads hold beside: measured on Gemma 3 270M.
const BESIDE: u64 = 400 << 20;

/// Bytes of memory that a repair of `decoder`, which is not packed yet, will hold at its peak:
/// what the process holds now, what learning takes, and what allocator and threads hold beside.
/// Warns where the machine has not so much.
pub(super) fn peak_bytes(
    decoder: &Decoder,
    calibration: &CalibrationTexts,
    config: &RepairConfig,
) -> u64 {
    if config.steps == 0 {
        return 0;
    }
    let texts: Vec<Text<'_>> = calibration.texts().collect();
    let learning =
        |config: &RepairConfig| limbeck_distill::repair::peak_bytes(decoder, &texts, config);
    let held = limbeck_run::resident_memory_bytes().unwrap_or(0) + BESIDE;
    let bytes = held + learning(config);
    tracing::info!("repair: expecting a peak of {:.2} GB of memory", bytes as f64 / 1e9);
    let available = limbeck_run::available_memory_bytes().unwrap_or(u64::MAX);
    if learning(config) > available {
        let again = RepairConfig { activation_checkpointing: true, ..config.clone() };
        tracing::warn!(
            "repair: {:.2} GB of memory can be had; repair.activation_checkpointing=true needs a \
             peak of {:.2} GB, fewer repair.texts or repair.tokens less",
            available as f64 / 1e9,
            (held + learning(&again)) as f64 / 1e9,
        );
    }
    bytes
}

/// Asks `original`, which is about to be quantised, if a repair is to follow.
pub(super) fn lessons(
    original: &Decoder,
    calibration: &CalibrationTexts,
    config: &RepairConfig,
) -> Result<Option<Lessons>> {
    if config.steps == 0 {
        return Ok(None);
    }
    let texts: Vec<Text<'_>> = calibration.texts().collect();
    let progress = Progress::new("lessons", Lessons::count(&texts, config) as u64, "texts");
    let mut more = |texts: usize| progress.inc(texts as u64);
    let lessons = Lessons::new(original, &texts, config, &mut more)?;
    progress.finish();
    Ok(lessons)
}

/// Repairs `decoder`.
pub(super) fn run(
    decoder: &mut Decoder,
    lessons: Lessons,
    config: &RepairConfig,
) -> Result<Option<Repair>> {
    let progress = Progress::new("repair", config.steps as u64, "steps");
    let mut norms = Norms::stored_in(DType::BFloat16.kind());
    let mut scales = Scales(None);
    let mut parts: Vec<&mut dyn TunedPart> = vec![&mut norms];
    if config.scales {
        parts.push(&mut scales);
    }
    let mut step = || progress.inc(1);
    let repair = limbeck_distill::repair(decoder, &mut parts, lessons, config, &mut step)?;
    progress.finish();
    if let Some(Repair { before, after, kept }) = repair {
        let outcome = if kept { "kept" } else { "no gain, undone" };
        tracing::info!("repair: KL {before:.2e} -> {after:.2e} a held-out token ({outcome})");
    }
    Ok(repair)
}

/// The scales of the packed projections.
struct Scales(Option<OpenScales>);

impl Scales {
    fn each(
        &self,
        mut act: impl FnMut(&OpenScales) -> limbeck_quant::Result<()>,
    ) -> limbeck_model::Result<()> {
        self.0.as_ref().map_or(Ok(()), |scales| act(scales).map_err(of_model))
    }
}

impl TunedPart for Scales {
    fn open(&mut self, model: &mut Decoder) -> limbeck_model::Result<Vec<(String, Tensor)>> {
        let scales = OpenScales::new(model).map_err(of_model)?;
        Ok(self.0.insert(scales).factors())
    }

    fn settle(&mut self, model: &mut Decoder) -> limbeck_model::Result<()> {
        self.each(|scales| scales.pack(model))
    }

    fn restore(&mut self, model: &mut Decoder) -> limbeck_model::Result<()> {
        self.each(|scales| scales.restore(model))
    }
}

fn of_model(error: limbeck_quant::Error) -> limbeck_model::Error {
    limbeck_model::Error::layer("scales", error)
}
