//! What quantising a decoder lost and gained.

use serde::{Deserialize, Serialize};

/// What was lost and gained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantizeReport {
    /// Bits of a code, of layers that nothing else was said of.
    pub bits: u32,
    /// Average bits of the packed layers' codes, weighted by their sizes.
    pub average_bits: f64,
    /// Tokens that the Hessians were summed over; 0 without calibration.
    pub calibration_tokens: usize,
    /// Bytes of memory that the work was expected to take at its peak, the model included.
    pub predicted_bytes: u64,
    /// Bytes of all packed layers.
    pub packed_bytes: u64,
    /// Bytes of the same layers as they were before.
    pub original_bytes: u64,
    /// Blocks that an earlier, interrupted run had finished.
    pub resumed_blocks: usize,
    /// One entry a layer, in the order of work.
    pub layers: Vec<LayerReport>,
    /// What 4 bits would cost each layer, where bits were shared out by it.
    pub sensitivities: Vec<Sensitivity>,
    /// What other programs may not take about this model.
    pub warnings: Vec<String>,
}

impl QuantizeReport {
    /// Mean relative output error of the layers, of those that were calibrated.
    pub fn mean_output_error(&self) -> Option<f64> {
        let errors: Vec<f64> = self.layers.iter().filter_map(|layer| layer.output_error).collect();
        (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    }

    /// Adds a finished layer.
    pub(crate) fn push(&mut self, layer: LayerReport) {
        self.packed_bytes += layer.packed_bytes;
        self.original_bytes += layer.original_bytes;
        self.layers.push(layer);
        let weights = |layer: &LayerReport| (layer.in_features * layer.out_features) as f64;
        let codes: f64 =
            self.layers.iter().map(|layer| weights(layer) * f64::from(layer.bits)).sum();
        self.average_bits = codes / self.layers.iter().map(weights).sum::<f64>().max(1.0);
    }
}

/// One quantised layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// The projection, head or embedding.
    pub name: String,
    /// Bits of a code.
    pub bits: u32,
    /// Width of its input.
    pub in_features: i64,
    /// Width of its output.
    pub out_features: i64,
    /// ‖W − Ŵ‖ / ‖W‖; with AWQ, of the weight as scaled.
    pub weight_error: f64,
    /// ‖(W − Ŵ) X‖ / ‖W X‖ on the calibration inputs; `None` without calibration.
    pub output_error: Option<f64>,
    /// Share of the mean diagonal added to the Hessian; above the configured one where it
    /// did not factor otherwise. `None` without GPTQ.
    pub damping: Option<f64>,
    /// Bytes as packed.
    pub packed_bytes: u64,
    /// Bytes as it was before.
    pub original_bytes: u64,
}

/// How much a projection's output suffers from few bits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// The projection.
    pub name: String,
    /// ‖(W − Ŵ) X‖² / ‖W X‖² in the configured bits, rounded to nearest.
    pub error: f64,
    /// The same in 8 bits.
    pub error8: f64,
    /// The bits that it got.
    pub bits: u32,
}

/// Called after each layer with the number of layers done, that of all layers and the
/// layer's report.
pub type ProgressFn<'a> = &'a mut dyn FnMut(usize, usize, &LayerReport);
