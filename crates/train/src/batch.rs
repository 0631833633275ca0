//! Examples as right-padded tensors. Under a causal mask no real token can attend to the
//! padding after it, so that padding needs no attention mask, only a loss weight of 0.

use tch::{Device, Kind, Tensor};

use crate::{Example, Result};

/// An example as it lies in a batch: row `i` of the batch holds `examples[i]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleSpan {
    /// The record it came from.
    pub id: String,
    /// All its token ids, the last one (only ever a target) included.
    pub tokens: Vec<i64>,
}

/// A batch on the device, inputs and targets shifted against each other by one.
#[derive(Debug)]
pub struct Batch {
    /// Input ids, i64 `[batch, seq]`.
    pub tokens: Tensor,
    /// Rows of the flattened `[batch * seq]` positions that carry a loss, i64 `[rows]`.
    pub rows: Tensor,
    /// The token to predict at each of these rows, i64 `[rows]`.
    pub targets: Tensor,
    /// The weight of each of these rows, f32 `[rows]`.
    pub weights: Tensor,
    /// Sum of the weights.
    pub weight_sum: f64,
    /// Number of inputs that are no padding.
    pub num_tokens: usize,
    /// The examples, in the order of the batch's rows.
    pub examples: Vec<ExampleSpan>,
    /// Whether the completions are the trained model's own, not the data's.
    pub sampled: bool,
}

impl Batch {
    /// Pads the examples to the longest of them.
    ///
    /// # Errors
    /// libtorch's, such as no memory on the device.
    pub fn new(examples: &[&Example], pad_token_id: i64, device: Device) -> Result<Self> {
        let length = examples.iter().map(|example| input_length(example)).max().unwrap_or(0);
        let mut tokens = vec![pad_token_id; examples.len() * length];
        let (mut rows, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut num_tokens = 0;
        for (index, example) in examples.iter().enumerate() {
            let inputs = input_length(example);
            let start = index * length;
            tokens[start..start + inputs].copy_from_slice(&example.tokens[..inputs]);
            num_tokens += inputs;
            for position in 0..inputs {
                let weight = example.weights[position + 1];
                if weight > 0.0 {
                    rows.push((start + position) as i64);
                    targets.push(example.tokens[position + 1]);
                    weights.push(weight);
                }
            }
        }
        let weight_sum = weights.iter().map(|&weight| f64::from(weight)).sum();
        Ok(Self {
            tokens: Tensor::f_from_slice(&tokens)?
                .f_view([examples.len() as i64, length as i64])?
                .f_to_device(device)?,
            rows: Tensor::f_from_slice(&rows)?.f_to_device(device)?,
            targets: Tensor::f_from_slice(&targets)?.f_to_device(device)?,
            weights: Tensor::f_from_slice(&weights)?.f_to_device(device)?,
            weight_sum,
            num_tokens,
            examples: examples
                .iter()
                .map(|example| ExampleSpan {
                    id: example.id.clone(),
                    tokens: example.tokens.clone(),
                })
                .collect(),
            sampled: false,
        })
    }

    /// Which positions are no padding: f32 `[batch, seq]` of ones and zeros.
    ///
    /// # Errors
    /// libtorch's.
    pub fn real_positions(&self) -> Result<Tensor> {
        let (_, length) = self.tokens.size2()?;
        let device = self.tokens.device();
        let inputs: Vec<i64> =
            self.examples.iter().map(|example| example.tokens.len() as i64 - 1).collect();
        let inputs = Tensor::f_from_slice(&inputs)?.f_to_device(device)?.f_unsqueeze(1)?;
        let places = Tensor::f_arange(length, (Kind::Int64, device))?;
        Ok(places.f_lt_tensor(&inputs)?.f_to_kind(Kind::Float)?)
    }

    /// Where a row of the flattened `[batch * seq]` positions lies: the index of its
    /// example and the position within it. Its input is `examples[index].tokens[position]`
    /// and its target the token after that.
    ///
    /// # Errors
    /// libtorch's, if the tokens are not `[batch, seq]`.
    pub fn place(&self, row: i64) -> Result<(usize, usize)> {
        let (_, length) = self.tokens.size2()?;
        Ok(((row / length) as usize, (row % length) as usize))
    }
}

/// Inputs of an example: all tokens but the last, which is only ever a target.
pub(crate) fn input_length(example: &Example) -> usize {
    example.tokens.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_next_tokens_and_padding_carries_no_loss() {
        let long = Example {
            id: "a".into(),
            tokens: vec![1, 2, 3, 4],
            weights: vec![0.0, 0.0, 1.0, 0.5],
            ..Example::default()
        };
        let short = Example {
            id: "b".into(),
            tokens: vec![5, 6],
            weights: vec![0.0, 1.0],
            ..Example::default()
        };
        let batch = Batch::new(&[&long, &short], 9, Device::Cpu).unwrap();
        assert_eq!(Vec::<i64>::try_from(batch.tokens.view(-1)).unwrap(), [1, 2, 3, 5, 9, 9]);
        assert_eq!(Vec::<i64>::try_from(&batch.rows).unwrap(), [1, 2, 3]);
        assert_eq!(Vec::<i64>::try_from(&batch.targets).unwrap(), [3, 4, 6]);
        assert_eq!(Vec::<f32>::try_from(&batch.weights).unwrap(), [1.0, 0.5, 1.0]);
        assert!((batch.weight_sum - 2.5).abs() < 1e-12);
        assert_eq!(batch.num_tokens, 4);
        let real = batch.real_positions().unwrap().view(-1);
        assert_eq!(Vec::<f32>::try_from(real).unwrap(), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn every_row_leads_back_to_its_example_and_position() {
        let examples = [
            Example {
                id: "a".into(),
                tokens: vec![1, 2],
                weights: vec![0.0, 1.0],
                ..Example::default()
            },
            Example {
                id: "b".into(),
                tokens: vec![3, 4, 5, 6],
                weights: vec![0.0, 0.0, 1.0, 2.0],
                ..Example::default()
            },
        ];
        let batch = Batch::new(&examples.each_ref(), 9, Device::Cpu).unwrap();
        let rows = Vec::<i64>::try_from(&batch.rows).unwrap();
        let places: Vec<_> = rows.iter().map(|&row| batch.place(row).unwrap()).collect();
        assert_eq!(places, [(0, 0), (1, 1), (1, 2)]);
        let targets = Vec::<i64>::try_from(&batch.targets).unwrap();
        for (&(index, position), target) in places.iter().zip(targets) {
            assert_eq!(batch.examples[index].id, examples[index].id);
            assert_eq!(batch.examples[index].tokens[position + 1], target);
        }
    }
}
