//! Trains a small adapter on a model for a few steps and writes it, with the logits it
//! gives, for `scripts/peers/check_adapter.py` to compare with PEFT's.
//!
//! ```text
//! cargo run --release -p limbeck-lora --example write_adapter -- MODEL_FOLDER OUTPUT_FOLDER
//! ```

use std::error::Error;
use std::path::Path;

use limbeck_core::seed::CounterRng;
use limbeck_core::write_tensors;
use limbeck_lora::{Adapter, AdapterConfig, Alpha, Init, Rank, TargetModules, train};
use limbeck_model::{Decoder, Input, LoadOptions};
use limbeck_train::{Example, TrainConfig, Trainer};
use tch::{Device, Kind, Tensor, no_grad};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, output] = arguments.as_slice() else {
        return Err("usage: write_adapter MODEL_FOLDER OUTPUT_FOLDER".into());
    };
    let plain = AdapterConfig {
        rank: Rank::new(8)?,
        alpha: Alpha::new(16.0)?,
        dropout: 0.05,
        base_model: Some(model.clone()),
        ..AdapterConfig::default()
    };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let ends = names(&["q_proj", "embed_tokens", "lm_head"]);
    let variants = [
        ("all_linear", plain.clone()),
        (
            "pattern",
            AdapterConfig { target_modules: r".*\.self_attn\.(q|v)_proj".into(), ..plain.clone() },
        ),
        (
            "rslora_patterns",
            AdapterConfig {
                use_rslora: true,
                rank_pattern: vec![("down_proj".to_owned(), Rank::new(3)?)],
                alpha_pattern: vec![(r"layers\.0\.self_attn\..*".to_owned(), Alpha::new(5.5)?)],
                ..plain.clone()
            },
        ),
        ("dora", AdapterConfig { use_dora: true, ..plain.clone() }),
        ("pissa", AdapterConfig { init: Init::Pissa, ..plain.clone() }),
        ("pissa_rslora", AdapterConfig { init: Init::Pissa, use_rslora: true, ..plain.clone() }),
        ("ends", AdapterConfig { target_modules: TargetModules::Names(ends), ..plain.clone() }),
        ("saved", AdapterConfig { modules_to_save: names(&["lm_head"]), ..plain }),
    ];
    for (name, config) in variants {
        write(Path::new(model), &Path::new(output).join(name), config)?;
    }
    Ok(())
}

fn write(model: &Path, folder: &Path, config: AdapterConfig) -> Result<(), Box<dyn Error>> {
    let options = LoadOptions {
        device: Device::Cpu,
        parameter_dtype: Kind::Float,
        compute_dtype: Kind::Float,
        linear_loader: None,
    };
    let mut decoder = Decoder::load(model, &options)?;
    let mut stream = CounterRng::new(1);
    let vocab_size = decoder.config().vocab_size as usize;
    let mut row =
        |length| -> Vec<i64> { (0..length).map(|_| stream.below(vocab_size) as i64).collect() };
    let examples: Vec<Example> = (0..16)
        .map(|index| Example {
            id: index.to_string(),
            tokens: row(16),
            weights: (0..16).map(|position| f32::from(u8::from(position > 0))).collect(),
            ..Example::default()
        })
        .collect();
    let tokens = Tensor::f_from_slice(&row(48))?.f_view([1, 48])?;

    let adapter = Adapter::attach(&mut decoder, config, 1)?;
    let config = TrainConfig {
        steps: 40,
        micro_batch_tokens: 256,
        warmup_steps: 4,
        learning_rate: 1e-2,
        checkpoint_every: 0,
        ..TrainConfig::default()
    };
    std::fs::create_dir_all(folder)?;
    let trainer = Trainer {
        config: &config,
        output: folder,
        seed: 1,
        pad_token_id: 0,
        device: Device::Cpu,
        label: "write_adapter",
        run: "example",
    };
    let report = train(&decoder, &adapter, &examples, &[], &trainer)?;
    adapter.save(folder)?;
    let logits = no_grad(|| {
        let hidden = decoder.forward(&Input::causal(&tokens), None, None)?;
        decoder.logits(&hidden)
    })?;
    let written = [("tokens".to_owned(), tokens), ("logits".to_owned(), logits.f_squeeze_dim(0)?)];
    write_tensors(&folder.join("logits.safetensors"), &written, &[])?;
    println!(
        "{}: {}, {:?}",
        folder.display(),
        adapter.trainable_share(&decoder),
        report.last_losses
    );
    Ok(())
}
