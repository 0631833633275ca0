//! The walk over a decoder: calibrate, quantise and replace, block by block.
//!
//! Sequential throughout: with GPTQ, a projection is calibrated on inputs that have passed all
//! quantised projections before it, those of its own block included, so that later ones
//! compensate the errors of earlier ones ("true sequential"). With AWQ, a block is scaled
//! whole, on inputs that have passed all quantised blocks before it.

use std::collections::HashSet;
use std::path::Path;

use limbeck_model::{Decoder, DenseLinear, Linear};
use tch::{Kind, Tensor};

use crate::awq;
use crate::calibration::{Calibration, Stage};
use crate::config::{Method, QuantizeConfig};
use crate::error::{Error, Result};
use crate::finished_blocks::FinishedBlocks;
use crate::formats::{CheckpointSettings, LayerSettings};
use crate::gptaq::Drift;
use crate::gptq;
use crate::head::{self, Packing};
use crate::hessian::{Factor, Hessian};
use crate::layer_shapes::LayerShape;
use crate::matrix::WeightMatrix;
use crate::packed_linear::{PackedLinear, tensor_bytes};
use crate::quantize::{Work, linear};
use crate::report::{LayerReport, ProgressFn, QuantizeReport};
use crate::rtn;

pub(crate) struct Walk<'a> {
    config: &'a QuantizeConfig,
    settings: &'a CheckpointSettings,
    progress: ProgressFn<'a>,
    /// Names of the projections to quantise.
    layers: HashSet<&'a str>,
    /// Bits of the embedding and of the head; `None` where they stay.
    tables: [Option<LayerSettings>; 2],
    report: QuantizeReport,
}

/// How codes of a projection are chosen.
#[derive(Clone, Copy)]
enum Choice<'a> {
    Nearest,
    Along(&'a Factor),
    /// To the nearest level of ranges clipped where that helps.
    Clipped(&'a Hessian),
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        decoder: &Decoder,
        work: &'a Work<'a>,
        progress: ProgressFn<'a>,
        report: QuantizeReport,
    ) -> Self {
        let wanted = |layer: &&LayerShape| work.settings.of(&layer.name).is_some();
        let layers = work.layers.iter().filter(wanted).map(|layer| layer.name.as_str()).collect();
        let table = |bits: u64, name: &str| {
            if work.tables && bits != 0 { work.settings.of(name) } else { None }
        };
        let head = decoder.head_name().unwrap_or(decoder.embedding_name());
        let tables = [
            table(work.config.embedding_bits, decoder.embedding_name()),
            table(work.config.head_bits, head),
        ];
        let (config, settings) = (work.config, &work.settings);
        Self { config, settings, progress, layers, tables, report }
    }

    pub(crate) fn finish(self) -> QuantizeReport {
        self.report
    }

    /// Rounds everything to nearest.
    pub(crate) fn rounded(&mut self, decoder: &mut Decoder, layers: &[LayerShape]) -> Result<()> {
        self.pack_embedding(decoder)?;
        for layer in layers {
            if self.layers.contains(layer.name.as_str()) {
                self.replace(decoder, &layer.name, Choice::Nearest, None)?;
            }
        }
        if let [_, Some(settings)] = self.tables {
            let report = head::pack_head(decoder, self.packing(settings), None)?;
            self.push(report);
        }
        Ok(())
    }

    /// Quantises along what the sequences do to the model.
    pub(crate) fn calibrated(
        &mut self,
        decoder: &mut Decoder,
        sequences: &[&[i64]],
        finished: Option<&Path>,
    ) -> Result<()> {
        let finished = finished
            .map(|folder| FinishedBlocks::open(folder, decoder, sequences, self.config))
            .transpose()?;
        let batch_size = self.config.batch_size;
        // The unquantised model's own stream, which its own embedding begins.
        let mut reference = self
            .config
            .gptaq
            .then(|| Calibration::new(decoder, sequences, batch_size))
            .transpose()?;
        self.pack_embedding(decoder)?;
        let mut calibration = Calibration::new(decoder, sequences, batch_size)?;
        self.report.calibration_tokens = calibration.num_tokens();
        let num_blocks = decoder.num_layers();
        for block in 0..num_blocks {
            let more = block + 1 < num_blocks || self.tables[1].is_some();
            let stored = finished.as_ref().map(|finished| finished.load(block)).transpose()?;
            if let Some(stored) = stored.flatten() {
                if let Some(reference) = &mut reference {
                    reference.pass(decoder, block)?;
                }
                for report in stored.put_in(decoder, self.config.format)? {
                    self.push(report);
                }
                self.report.resumed_blocks += 1;
                if more {
                    calibration.pass(decoder, block)?;
                }
                continue;
            }
            let first = self.report.layers.len();
            match self.config.method {
                Method::Awq => self.scaled_block(decoder, &calibration, block)?,
                _ => self.solved_block(decoder, &mut calibration, reference.as_mut(), block)?,
            }
            if let Some(finished) = &finished {
                finished.store(decoder, block, &self.report.layers[first..])?;
            }
            if more {
                match self.config.method {
                    Method::Awq => calibration.pass(decoder, block)?,
                    _ => calibration.leave(decoder, block)?,
                }
            }
        }
        if let [_, Some(settings)] = self.tables {
            let name = decoder.head_name().unwrap_or(decoder.embedding_name());
            let width = decoder.config().hidden_size;
            let mut hessian = Hessian::new(width, decoder.device())?;
            calibration.outputs(decoder, &mut |rows| hessian.add(rows))?;
            drop(calibration);
            let group_size = settings.group_size.unwrap_or(width as usize);
            let factor = self.factor(name, &hessian, group_size)?;
            let packing = self.packing(settings);
            let report = head::pack_head(decoder, packing, Some((&hessian, &factor)))?;
            self.push(report);
        }
        Ok(())
    }

    fn pack_embedding(&mut self, decoder: &mut Decoder) -> Result<()> {
        if let [Some(settings), _] = self.tables {
            let report = head::pack_embedding(decoder, self.packing(settings), None)?;
            self.push(report);
        }
        Ok(())
    }

    fn packing(&self, settings: LayerSettings) -> Packing {
        let rule = self.config.grid_rule(settings.bits);
        Packing { rule, settings, format: self.config.format }
    }

    /// Projections of a stage that are to be quantised.
    fn wanted(&self, stage: Stage, block: usize) -> Vec<String> {
        stage.names(block).filter(|name| self.layers.contains(&**name)).collect()
    }

    /// GPTQ of one block.
    fn solved_block(
        &mut self,
        decoder: &mut Decoder,
        calibration: &mut Calibration,
        mut reference: Option<&mut Calibration>,
        block: usize,
    ) -> Result<()> {
        let mut originals = match reference {
            Some(_) => Originals::of(decoder, block)?,
            None => Originals(Vec::new()),
        };
        for stage in Stage::ALL {
            let names = self.wanted(stage, block);
            let mut unquantized = Vec::new();
            if let Some(reference) = reference.as_deref_mut() {
                originals.swap(decoder)?;
                reference.enter(decoder, block, stage, &mut |rows| {
                    unquantized.push(rows.shallow_clone());
                    Ok(())
                })?;
                originals.swap(decoder)?;
            }
            let Some(first) = names.first() else {
                calibration.enter(decoder, block, stage, &mut |_| Ok(()))?;
                continue;
            };
            let width = linear(decoder, first)?.in_features();
            let mut hessian = Hessian::new(width, decoder.device())?;
            let mut drift = match reference {
                Some(_) => Some(Drift::new(width, decoder.device())?),
                None => None,
            };
            let mut unquantized = unquantized.into_iter();
            calibration.enter(decoder, block, stage, &mut |rows| {
                if let (Some(drift), Some(unquantized)) = (&mut drift, unquantized.next()) {
                    drift.add(rows, &unquantized)?;
                }
                hessian.add(rows)
            })?;
            let group_size = usize::try_from(self.config.group_size).unwrap_or(width as usize);
            let mut factor = self.factor(first, &hessian, group_size)?;
            if let Some(drift) = drift {
                factor = factor.with_drift(&drift, self.config.gptaq_alpha)?;
            }
            for name in &names {
                self.replace(decoder, name, Choice::Along(&factor), Some(&hessian))?;
            }
        }
        if let Some(reference) = reference {
            originals.swap(decoder)?;
            reference.leave(decoder, block)?;
            originals.swap(decoder)?;
        }
        Ok(())
    }

    /// AWQ of one block.
    fn scaled_block(
        &mut self,
        decoder: &mut Decoder,
        calibration: &Calibration,
        block: usize,
    ) -> Result<()> {
        let inputs = awq::Inputs::observe(decoder, calibration, block)?;
        let inputs = awq::scale(decoder, block, inputs, &|name| {
            let settings = self.settings.of(name)?;
            Some((self.config.grid_rule(settings.bits), settings.group_size))
        })?;
        for stage in Stage::ALL {
            for name in self.wanted(stage, block) {
                // What queries and keys are multiplied by each other forgives clipping least.
                let attends = name.ends_with("q_proj") || name.ends_with("k_proj");
                let hessian = inputs.hessian(stage);
                let choice = if self.config.clip && !attends {
                    Choice::Clipped(hessian)
                } else {
                    Choice::Nearest
                };
                self.replace(decoder, &name, choice, Some(hessian))?;
            }
        }
        Ok(())
    }

    fn factor(&self, layer: &str, hessian: &Hessian, group_size: usize) -> Result<Factor> {
        if !hessian.is_finite()? {
            return Err(Error::ActivationRange { layer: layer.to_owned() });
        }
        let damping = self.config.damping;
        let factor = hessian
            .factor(damping, self.config.order, group_size)?
            .ok_or_else(|| Error::indefinite(layer, hessian))?;
        if factor.damping() > damping {
            tracing::warn!(
                "layer {layer}: the Hessian was damped by {} instead of {damping}",
                factor.damping(),
            );
        }
        Ok(factor)
    }

    /// Quantises one projection; its output error is that on the inputs of `hessian`.
    fn replace(
        &mut self,
        decoder: &mut Decoder,
        name: &str,
        choice: Choice<'_>,
        hessian: Option<&Hessian>,
    ) -> Result<()> {
        let Some(settings) = self.settings.of(name) else { return Ok(()) };
        let device = decoder.device();
        let original = linear(decoder, name)?;
        let dense = original.dense_weight()?.f_to_kind(Kind::Float)?;
        let weight = WeightMatrix::from_tensor(&dense)?;
        let group_size = settings.group_size.unwrap_or(weight.in_features());
        let rule = self.config.grid_rule(settings.bits);
        let quantized = match choice {
            Choice::Along(factor) => gptq::quantize(&weight, factor, rule, group_size),
            Choice::Nearest => rtn::quantize(&weight, rule, group_size),
            Choice::Clipped(hessian) => {
                let clipped = awq::clipped(&weight, hessian, rule, group_size)?;
                clipped.and_then(|clipped| rtn::quantize(&clipped, rule, group_size))
            }
        }
        .ok_or_else(|| Error::WeightRange { layer: name.to_owned() })?;

        let rounded = quantized.dequantize();
        let output_error = match hessian {
            Some(hessian) => {
                let rounded = rounded.to_tensor(Kind::Float, device)?;
                Some(hessian.output_error(&dense, &rounded)?)
            }
            None => None,
        };
        let bias = original.bias();
        let original_bytes: u64 =
            original.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum();
        let packed =
            PackedLinear::pack(name, quantized, bias.as_ref(), self.config.format, device)?;
        let damping = match choice {
            Choice::Along(factor) => Some(factor.damping()),
            _ => None,
        };
        let report = LayerReport {
            name: name.to_owned(),
            bits: settings.bits.width(),
            in_features: packed.in_features(),
            out_features: packed.out_features(),
            weight_error: weight.relative_error(&rounded),
            output_error,
            damping,
            packed_bytes: packed.packed_bytes(),
            original_bytes,
        };
        let mut packed: Option<Box<dyn Linear>> = Some(Box::new(packed));
        decoder.map_linear(name, &mut |layer| Ok(packed.take().unwrap_or(layer)))?;
        self.push(report);
        Ok(())
    }

    fn push(&mut self, layer: LayerReport) {
        let total = self.layers.len() + self.tables.iter().flatten().count();
        self.report.push(layer);
        if let Some(layer) = self.report.layers.last() {
            (self.progress)(self.report.layers.len(), total, layer);
        }
    }
}

/// A block's projections as they were, while others stand in their place.
struct Originals(Vec<(String, Box<dyn Linear>)>);

impl Originals {
    fn of(decoder: &Decoder, block: usize) -> Result<Self> {
        let names = Stage::ALL.into_iter().flat_map(|stage| stage.names(block));
        let original = |name: String| -> Result<(String, Box<dyn Linear>)> {
            let layer = linear(decoder, &name)?;
            let bias = layer.bias().as_ref().map(Tensor::shallow_clone);
            Ok((name, Box::new(DenseLinear::new(layer.dense_weight()?, bias)?)))
        };
        names.map(original).collect::<Result<_>>().map(Self)
    }

    /// Exchanges them with those that are in the decoder.
    fn swap(&mut self, decoder: &mut Decoder) -> Result<()> {
        for (name, other) in &mut self.0 {
            decoder.map_linear(name, &mut |layer| Ok(std::mem::replace(other, layer)))?;
        }
        Ok(())
    }
}
