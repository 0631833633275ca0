//! Where a model looks while it reasons, by the steps of its chain.
//!
//! A heatmap of tokens says little of a long reply and grows with its square; so attention is
//! pooled by spans, and the weights themselves are kept of short texts only. Modules in reading
//! order: `spans`, `measure` (a few rows at a time).

mod measure;
mod problems;
mod spans;

pub use problems::attention_of_tasks;

use std::path::Path;

use limbeck_core::Tokenizer;
use limbeck_model::Decoder;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The file of an evaluation folder that holds its maps.
const FILE: &str = "attention.json";

/// Most tokens of a text whose weights are kept one by one.
pub const MOST_RAW_TOKENS: usize = 256;

/// What of a model's attention is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapOptions {
    /// The layers whose mean over heads is kept; none for all.
    pub layers: Vec<usize>,
    /// Single heads kept: those that look back most. Default 4.
    pub heads: usize,
    /// Whether the weights themselves are kept, of the single heads and the last layer's mean,
    /// where the text is short enough ([`MOST_RAW_TOKENS`]). Default no.
    pub raw: bool,
}

impl Default for MapOptions {
    fn default() -> Self {
        Self { layers: Vec::new(), heads: 4, raw: false }
    }
}

/// A run of tokens: the question, a step of the chain, the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// What a reader calls it: `question`, `step 1`, `answer`.
    pub label: String,
    /// Its text.
    pub text: String,
    /// Its first token.
    pub start: usize,
    /// The token after its last.
    pub end: usize,
}

/// Attention of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heat {
    /// The layer, from 0.
    pub layer: usize,
    /// The head, from 0; `None` for the mean of all.
    pub head: Option<usize>,
    /// `[spans, spans]`: the share of a span's attention, averaged over its tokens, that goes to
    /// each span; rows add up to 1.
    pub pooled: Vec<Vec<f32>>,
    /// `[tokens, tokens]` as the model computes it, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Vec<Vec<f32>>>,
}

/// A model's attention over one problem with its reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionMap {
    /// The problem's id.
    pub id: String,
    /// The tokens as text.
    pub tokens: Vec<String>,
    /// The tokens by span, in order, without gaps.
    pub spans: Vec<Span>,
    /// By layer and head.
    pub heats: Vec<Heat>,
}

impl AttentionMap {
    /// The attention of a model over a rendered prompt and its reply.
    ///
    /// The single heads are those that look back most: whose tokens of the chain and the answer
    /// give the largest share of their attention to earlier spans, the first token not counted,
    /// on which heads rest that look at nothing (Xiao et al., arXiv 2309.17453).
    ///
    /// # Errors
    /// A layer that the model does not have, a text without tokens or with more than it takes;
    /// failures of libtorch.
    pub fn of(
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        id: &str,
        prompt: &str,
        reply: &str,
        options: &MapOptions,
    ) -> Result<Self> {
        let spans::Tokens { ids, texts, spans } = spans::tokens(tokenizer, prompt, reply)?;
        let config = decoder.config();
        if ids.is_empty() {
            return Err(limbeck_infer::Error::Empty { index: 0 }.into());
        }
        let limit = config.max_position_embeddings;
        if ids.len() as i64 > limit {
            let prompt_tokens = ids.len();
            let too_long =
                limbeck_infer::Error::TooLong { index: 0, prompt_tokens, max_new_tokens: 0, limit };
            return Err(too_long.into());
        }
        let num_layers = config.num_hidden_layers();
        if let Some(layer) = options.layers.iter().find(|layer| **layer >= num_layers) {
            let expected = format!("below the model's {num_layers}");
            return Err(limbeck_run::config::Invalid::new("layers", &expected, layer).into());
        }
        let pooled = measure::pooled(decoder, &ids, &spans)?;
        let layers: Vec<usize> = match options.layers.as_slice() {
            [] => (0..num_layers).collect(),
            chosen => chosen.to_vec(),
        };
        let mut shown: Vec<(usize, Option<usize>)> =
            layers.into_iter().map(|layer| (layer, None)).collect();
        shown.extend(
            looking_back(&pooled, options.heads)
                .into_iter()
                .map(|(layer, head)| (layer, Some(head))),
        );
        let is_short = ids.len() <= MOST_RAW_TOKENS;
        let heats = shown.into_iter().map(|(layer, head)| {
            let keeps_raw = options.raw && is_short && (head.is_some() || layer + 1 == num_layers);
            let of_layer = &pooled.heads[layer];
            Ok(Heat {
                layer,
                head,
                pooled: match head {
                    Some(head) => rounded(&of_layer[head..=head]),
                    None => rounded(of_layer),
                },
                raw: if keeps_raw { Some(measure::raw(decoder, &ids, layer, head)?) } else { None },
            })
        });
        let heats = heats.collect::<Result<_>>()?;
        Ok(Self { id: id.to_owned(), tokens: texts, spans, heats })
    }

    /// Writes maps into an evaluation folder.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(maps: &[Self], folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let json = |source| Error::Json {
            path: path.clone(),
            line: None,
            expected: "weights that can be written as JSON",
            source,
        };
        let text = serde_json::to_string(maps).map_err(json)?;
        Ok(limbeck_run::write_file(&path, text.as_bytes())?)
    }

    /// Reads the maps of an evaluation folder; none where it holds none.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(folder: &Path) -> Result<Vec<Self>> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(limbeck_run::Error::read(&path, source).into()),
        };
        serde_json::from_str(&text).map_err(|source| Error::Json {
            path,
            line: None,
            expected: "a list of attention maps",
            source,
        })
    }
}

/// The mean of heads, `[spans, spans]`, to four decimals.
fn rounded(heads: &[Vec<Vec<f64>>]) -> Vec<Vec<f32>> {
    let spans = heads.first().map_or(0, Vec::len);
    let mean = |row: usize, column: usize| {
        let sum: f64 = heads.iter().map(|head| head[row][column]).sum();
        ((sum / heads.len() as f64 * 1e4).round() / 1e4) as f32
    };
    (0..spans).map(|row| (0..spans).map(|column| mean(row, column)).collect()).collect()
}

/// Layers and heads, those first that look back most.
fn looking_back(pooled: &measure::Pooled, count: usize) -> Vec<(usize, usize)> {
    let mut heads: Vec<(f64, usize, usize)> = Vec::new();
    for (layer, of_layer) in pooled.heads.iter().enumerate() {
        for (head, rows) in of_layer.iter().enumerate() {
            let back = |row: usize| {
                let earlier: f64 = rows[row][..row].iter().sum();
                earlier - pooled.first[layer][head][row]
            };
            let later = rows.len().saturating_sub(1).max(1) as f64;
            let mean = (1..rows.len()).map(back).sum::<f64>() / later;
            heads.push((mean, layer, head));
        }
    }
    heads.sort_by(|left, right| right.0.total_cmp(&left.0));
    heads.into_iter().take(count).map(|(_, layer, head)| (layer, head)).collect()
}

#[cfg(test)]
mod tests {
    use limbeck_core::Message;
    use limbeck_cot_data::{Family, generate};
    use limbeck_model::LoadOptions;
    use tch::{Device, Kind};

    use super::*;

    fn fixture() -> (Decoder, Tokenizer) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/student");
        let options = LoadOptions::dense(Device::Cpu, Kind::Float);
        (Decoder::load(&folder, &options).unwrap(), Tokenizer::load(&folder).unwrap())
    }

    #[test]
    fn a_reply_is_mapped_by_its_steps() {
        let (decoder, tokenizer) = fixture();
        let record = generate(Family::Arith, 2, 5, 0).unwrap();
        let template = tokenizer.require_chat_template().unwrap();
        let prompt = template.render(&[Message::user(&record.question)], true, None).unwrap();
        let reply = record.completion();
        let options = MapOptions { raw: true, heads: 2, ..MapOptions::default() };
        let map = AttentionMap::of(&decoder, &tokenizer, "a", &prompt, &reply, &options).unwrap();

        let labels: Vec<&str> = map.spans.iter().map(|span| span.label.as_str()).collect();
        assert_eq!((labels[0], labels[1]), ("question", "step 1"));
        assert_eq!(labels.last(), Some(&"answer"));
        assert_eq!(labels.len(), record.thought_process.len() + 2);
        assert_eq!(map.spans[1].text, record.thought_process[0]);
        assert_eq!(map.tokens.concat(), format!("{prompt}{reply}"));
        let ends = map.spans.iter().map(|span| span.end);
        let starts = map.spans.iter().skip(1).map(|span| span.start);
        assert!(ends.eq(starts.chain([map.tokens.len()])), "no gaps: {:?}", map.spans);
        let first = map.tokens[map.spans[1].start..map.spans[1].end].concat();
        assert!(first.contains(record.thought_process[0].trim_start()), "{first:?}");

        let layers = decoder.config().num_hidden_layers();
        assert_eq!(map.heats.len(), layers + 2);
        for heat in &map.heats {
            for (row, shares) in heat.pooled.iter().enumerate() {
                assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-2);
                assert!(shares[row + 1..].iter().all(|share| *share == 0.0), "nothing looks ahead");
            }
            let keeps = heat.head.is_some() || heat.layer + 1 == layers;
            assert_eq!(heat.raw.is_some(), keeps && map.tokens.len() <= MOST_RAW_TOKENS);
        }
        let chosen = |heat: &&Heat| heat.head.is_some();
        let back =
            |heat: &Heat| heat.pooled.last().unwrap()[..labels.len() - 1].iter().sum::<f32>();
        let best = map.heats.iter().filter(chosen).map(back).fold(0.0, f32::max);
        assert!(best > 0.3, "{best}");

        let folder = tempfile::tempdir().unwrap();
        assert!(AttentionMap::read(folder.path()).unwrap().is_empty());
        AttentionMap::write(std::slice::from_ref(&map), folder.path()).unwrap();
        assert_eq!(AttentionMap::read(folder.path()).unwrap(), [map]);
        std::fs::write(folder.path().join(FILE), "[{").unwrap();
        assert!(AttentionMap::read(folder.path()).is_err());
    }

    #[test]
    fn what_the_model_cannot_take_is_refused() {
        let (decoder, tokenizer) = fixture();
        let of = |prompt: &str, options: &MapOptions| {
            AttentionMap::of(&decoder, &tokenizer, "a", prompt, "", options)
        };
        assert!(of("", &MapOptions::default()).is_err());
        assert!(of(&"1 ".repeat(5000), &MapOptions::default()).is_err());
        let options = MapOptions { layers: vec![99], ..MapOptions::default() };
        assert!(of("1+1", &options).unwrap_err().to_string().contains("layers"));
        let map = of("1+1", &MapOptions { layers: vec![0], heads: 0, raw: false }).unwrap();
        assert_eq!((map.heats.len(), map.spans.len()), (1, 1));
        assert_eq!(map.heats[0].pooled, [[1.0]]);
    }
}
