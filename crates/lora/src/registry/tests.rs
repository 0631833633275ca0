//! A registry in use: by one writer and by several, in good order and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use limbeck_run::{Diagnose as _, Exit, Manifest};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::*;
use crate::{Adapter, AdapterConfig, Error};

/// A base model and adapters for it, in a folder that disappears.
pub(super) struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write_model(&root.path().join("model"), "weights", "words");
        Self { root }
    }

    pub(super) fn model(&self) -> PathBuf {
        self.root.path().join("model")
    }

    pub(super) fn registry_path(&self) -> PathBuf {
        self.root.path().join("registry")
    }

    pub(super) fn registry(&self) -> Registry {
        Registry::create(&self.registry_path()).unwrap()
    }

    /// The folder of an adapter that differs from others in its value.
    pub(super) fn adapter(&self, value: f32) -> PathBuf {
        let folder = self.root.path().join(format!("adapter-{value}"));
        let config = json!({ "peft_type": "LORA", "r": 1, "lora_alpha": 2,
            "target_modules": ["q_proj"] });
        write_adapter(
            &folder,
            &config,
            &[("q_proj.lora_A.weight", value), ("q_proj.lora_B.weight", 1.0)],
        );
        folder
    }

    pub(super) fn publish(&self, value: f32, expected: Option<u64>) -> Result<Changed> {
        let (adapter, model) = (self.adapter(value), self.model());
        self.registry().publish(&medical(), &publication(&adapter, &model), expected)
    }
}

pub(super) fn publication<'a>(adapter: &'a Path, model: &'a Path) -> Publication<'a> {
    Publication { adapter, model, scores: BTreeMap::new(), parent: None, pin: false }
}

pub(super) fn medical() -> RefName {
    RefName::new(Tier::Domain, "medical").unwrap()
}

/// Writes an adapter whose tensors are one number each.
pub(super) fn write_adapter(folder: &Path, config: &Value, tensors: &[(&str, f32)]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(AdapterConfig::FILE), config.to_string()).unwrap();
    let bytes: Vec<(String, [u8; 4])> = tensors
        .iter()
        .map(|(name, value)| (format!("base_model.model.{name}"), value.to_le_bytes()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, bytes)| (name, TensorView::new(Dtype::F32, vec![1, 1], bytes).unwrap()));
    let file = safetensors::serialize(views, None).unwrap();
    fs::write(folder.join(Adapter::TENSORS), file).unwrap();
}

pub(super) fn write_model(folder: &Path, weights: &str, words: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    fs::write(folder.join("model.safetensors"), weights).unwrap();
    fs::write(folder.join("tokenizer.json"), words).unwrap();
}

fn registry_error(result: Result<impl std::fmt::Debug>) -> RegistryError {
    match result {
        Err(Error::Registry(error)) => error,
        other => panic!("expected an error of the registry, found {other:?}"),
    }
}

/// Every file of a folder with its content.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in list_folder(folder).unwrap() {
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn what_is_published_is_promoted_rolled_back_and_found() {
    let fixture = Fixture::new();
    let first = fixture.publish(1.0, Some(0)).unwrap();
    let registry = fixture.registry();
    registry.promote(&medical(), Some(1)).unwrap();
    let second = fixture.publish(2.0, None).unwrap();
    let resolve = |text: &str| registry.resolve(&text.parse().unwrap());
    assert_eq!(resolve("domain/medical").unwrap().hash, first.hash);
    let candidate = resolve("domain/medical@candidate").unwrap();
    assert_eq!(candidate.hash, second.hash);
    let stored = fs::read(candidate.folder.join(Adapter::TENSORS)).unwrap();
    assert_eq!(stored, fs::read(fixture.adapter(2.0).join(Adapter::TENSORS)).unwrap());

    registry.promote(&medical(), None).unwrap();
    assert_eq!(resolve("domain/medical").unwrap().hash, second.hash);
    let back = registry.rollback(&medical(), 1, Some(4)).unwrap();
    assert_eq!((back.hash, back.state.generation), (first.hash.clone(), 5));
    assert_eq!(resolve("domain/medical").unwrap().hash, first.hash);
    assert_eq!(resolve("domain/medical@4").unwrap().hash, second.hash);
    let digits = &second.hash.as_str()[..10];
    assert_eq!(resolve(&format!("domain/medical@sha256:{digits}")).unwrap().hash, second.hash);
}

#[test]
fn a_manifest_says_where_the_adapter_comes_from() {
    let fixture = Fixture::new();
    let (adapter, model) = (fixture.adapter(1.0), fixture.model());
    let trained_on = BaseIdentity::of(&model).unwrap().model;
    let stage = |trained_on: &str| Manifest {
        stage: "lora".to_owned(),
        config: json!({ "rank": 1 }),
        inputs: [("model", trained_on), ("train", "data's hash")]
            .map(|(name, hash)| (name.to_owned(), hash.to_owned()))
            .into(),
        commit: Some("c0ffee".to_owned()),
        seed: 7,
        ..Manifest::default()
    };
    stage("another model").write(&adapter).unwrap();
    let registry = fixture.registry();
    let publish = || registry.publish(&medical(), &publication(&adapter, &model), None);
    let error = registry_error(publish());
    assert!(matches!(&error, RegistryError::TrainedElsewhere { .. }), "{error}");
    assert!(registry.names().unwrap().is_empty());

    stage(&trained_on).write(&adapter).unwrap();
    let hash = publish().unwrap().hash;
    let manifest = registry.read_entry(&hash).unwrap();
    assert_eq!(manifest.base, BaseIdentity::of(&model).unwrap());
    assert_eq!(manifest.data, BTreeMap::from([("train".into(), "data's hash".into())]));
    assert_eq!((&manifest.config, manifest.seed), (&json!({ "rank": 1 }), Some(7)));
    assert_eq!(manifest.commit.as_deref(), Some("c0ffee"));
    let as_stage = Manifest::read(&registry.entry(&hash)).unwrap().unwrap();
    assert_eq!((as_stage.config, as_stage.seed), (manifest.config, 7));
    // Also where no stage said anything.
    let hash = fixture.publish(2.0, None).unwrap().hash;
    let as_stage = Manifest::read(&registry.entry(&hash)).unwrap().unwrap();
    assert_eq!((as_stage.config, as_stage.seed), (Value::Null, 0));
}

#[test]
fn the_same_content_is_stored_once_and_collects_scores() {
    let fixture = Fixture::new();
    let registry = fixture.registry();
    let (adapter, model) = (fixture.adapter(1.0), fixture.model());
    let publish = |scores: &[(&str, f64)], name: &RefName| {
        let scores = scores.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        registry.publish(name, &Publication { scores, ..publication(&adapter, &model) }, None)
    };
    let first = publish(&[("medical/accuracy", 0.5)], &medical()).unwrap();
    let again = publish(&[("legal/accuracy", 0.25)], &medical()).unwrap();
    assert!(first.changed && !again.changed);
    assert_eq!(again.state.generation, 1);
    let law = RefName::new(Tier::User, "law").unwrap();
    publish(&[("medical/accuracy", 0.75)], &law).unwrap();
    assert_eq!(list_folder(&registry.store()).unwrap().len(), 1);
    let scores = registry.read_entry(&first.hash).unwrap().scores;
    let expected = [("legal/accuracy", 0.25), ("medical/accuracy", 0.75)];
    assert_eq!(scores, expected.map(|(name, value)| (name.to_owned(), value)).into());
    let error = registry_error(publish(&[("x", f64::NAN)], &law));
    assert!(matches!(error, RegistryError::Score { .. }), "{error}");
}

#[test]
fn a_stale_generation_changes_nothing() {
    let fixture = Fixture::new();
    fixture.publish(1.0, None).unwrap();
    let before = snapshot(&fixture.registry_path());
    let registry = fixture.registry();
    let error = registry_error(fixture.publish(2.0, Some(0)));
    assert_eq!(error.exit(), Exit::Failed);
    assert!(error.to_string().contains("at generation 1, expected 0"), "{error}");
    registry_error(registry.promote(&medical(), Some(7)));
    registry_error(registry.rollback(&medical(), 1, None));
    assert_eq!(snapshot(&fixture.registry_path()), before);
}

#[test]
fn of_writers_that_expect_the_same_generation_one_wins() {
    const WRITERS: usize = 6;
    let fixture = Fixture::new();
    fixture.publish(0.5, None).unwrap();
    let race = |expected: Option<u64>, offset: f32| -> Vec<Result<Changed>> {
        let start = Barrier::new(WRITERS);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|index| {
                    let (fixture, start) = (&fixture, &start);
                    scope.spawn(move || {
                        start.wait();
                        fixture.publish(offset + index as f32, expected)
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        })
    };
    let outcomes = race(Some(1), 10.0);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for lost in outcomes.into_iter().filter(Result::is_err) {
        let error = registry_error(lost);
        assert!(matches!(error, RegistryError::Conflict { expected: 1, found: 2, .. }), "{error}");
    }

    // Without expectation all of them land, each with a generation of its own.
    let mut generations: Vec<u64> =
        race(None, 20.0).into_iter().map(|outcome| outcome.unwrap().state.generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, (3..3 + WRITERS as u64).collect::<Vec<_>>());
    let verified = fixture.registry().verify().unwrap();
    assert!(verified.damage.is_empty(), "{:?}", verified.damage);
}

#[test]
fn what_is_missing_is_named() {
    let fixture = Fixture::new();
    let error = registry_error(Registry::open(&fixture.registry_path()));
    assert!(matches!(error, RegistryError::NotARegistry { .. }), "{error}");
    let error = registry_error(Registry::create(&fixture.model()));
    assert!(matches!(&error, RegistryError::Occupied { found, .. } if found == "config.json"));

    let published = fixture.publish(1.0, None).unwrap();
    let registry = fixture.registry();
    let resolve = |text: &str| registry_error(registry.resolve(&text.parse().unwrap()));
    let error = resolve("domain/legal").to_string();
    assert!(error.ends_with("has no domain/legal: it has domain/medical"), "{error}");
    assert!(resolve("domain/medical").to_string().contains("no champion"));
    assert!(matches!(resolve("domain/medical@2"), RegistryError::NoGeneration { .. }));

    registry.promote(&medical(), None).unwrap();
    fixture.publish(2.0, None).unwrap();
    registry.promote(&medical(), None).unwrap();
    fs::remove_dir_all(registry.entry(&published.hash)).unwrap();
    let before = snapshot(&fixture.registry_path());
    let error = registry_error(registry.rollback(&medical(), 1, None));
    assert!(matches!(error, RegistryError::MissingEntry { .. }), "{error}");
    assert_eq!(snapshot(&fixture.registry_path()), before);
}

#[test]
fn damage_is_named_and_publishing_again_repairs_it() {
    let fixture = Fixture::new();
    let hash = fixture.publish(1.0, None).unwrap().hash;
    let registry = fixture.registry();
    let candidate: Address = "domain/medical@candidate".parse().unwrap();
    for file in [Adapter::TENSORS, AdapterConfig::FILE, AdapterManifest::FILE] {
        let path = registry.entry(&hash).join(file);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = registry.resolve(&candidate).unwrap_err().to_string();
        assert!(error.contains(file), "{file}: {error}");
        let damage = registry.verify().unwrap().damage;
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert!(damage[0].to_string().contains(file), "{}", damage[0]);
        fixture.publish(1.0, None).unwrap();
        assert!(registry.verify().unwrap().damage.is_empty());
    }
}

#[test]
fn a_damaged_name_stops_whatever_would_build_on_it() {
    let fixture = Fixture::new();
    fixture.publish(1.0, None).unwrap();
    let registry = fixture.registry();
    let path = registry.reference_path(&medical());
    fs::write(&path, "{ \"generation\": 1").unwrap();
    let before = snapshot(&fixture.registry_path());
    let said = [
        fixture.publish(2.0, None).unwrap_err().to_string(),
        registry.promote(&medical(), None).unwrap_err().to_string(),
        registry.collect_garbage(0, false).unwrap_err().to_string(),
        registry.verify().unwrap().damage[0].to_string(),
    ];
    for error in said {
        assert!(error.contains("refs/domain/medical.json"), "{error}");
    }
    assert_eq!(snapshot(&fixture.registry_path()), before);
}

#[test]
fn collection_removes_what_no_name_needs_and_what_writers_left() {
    let fixture = Fixture::new();
    let registry = fixture.registry();
    let mut hashes = Vec::new();
    for value in [1.0, 2.0, 3.0, 4.0, 5.0] {
        hashes.push(fixture.publish(value, None).unwrap().hash);
        if value < 4.0 {
            registry.promote(&medical(), None).unwrap();
        }
    }
    registry.pin(&medical(), hashes[0].clone()).unwrap();
    fs::create_dir(registry.staging().join("999-0")).unwrap();
    fs::write(registry.staging().join("999-0/adapter_model.safetensors"), "half").unwrap();

    let before = snapshot(&fixture.registry_path());
    let planned = registry.collect_garbage(0, true).unwrap();
    assert_eq!(snapshot(&fixture.registry_path()), before);
    let done = registry.collect_garbage(0, false).unwrap();
    assert_eq!(planned, done);
    // Left are the pinned first, the champion (third) and the candidate (fifth).
    let mut removed = vec![hashes[1].clone(), hashes[3].clone()];
    removed.sort();
    assert_eq!((done.removed, done.debris.len(), done.kept), (removed, 1, 3));
    assert_eq!(list_folder(&registry.staging()).unwrap(), Vec::<PathBuf>::new());
    assert!(registry.verify().unwrap().damage.is_empty());
    let again = registry.collect_garbage(0, false).unwrap();
    assert!(again.removed.is_empty() && again.debris.is_empty());

    registry.unpin(&medical(), hashes[0].clone()).unwrap();
    assert_eq!(registry.collect_garbage(0, false).unwrap().removed, [hashes[0].clone()]);
}

#[test]
fn the_same_tensors_over_another_base_are_refused() {
    let fixture = Fixture::new();
    let hash = fixture.publish(1.0, None).unwrap().hash;
    let other = fixture.root.path().join("other");
    write_model(&other, "other weights", "words");
    let adapter = fixture.adapter(1.0);
    let error = registry_error(fixture.registry().publish(
        &medical(),
        &publication(&adapter, &other),
        None,
    ));
    assert!(
        matches!(&error, RegistryError::OtherBase { adapter, .. }
        if *adapter == hash.to_string()),
        "{error}"
    );
}
