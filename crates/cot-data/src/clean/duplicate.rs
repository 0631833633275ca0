//! Which records repeat an earlier one, exactly or nearly.
//!
//! A first pass hands over a [`Fingerprint`] for each record; then every band is sorted
//! by hash, pairs that share one are verified by their signatures, and a union-find
//! keeps the earliest record of each group. Groups grow by transitivity: the last text of
//! a chain may be less similar to the first than the threshold says.

use std::io;
use std::path::Path;

use super::config::{CleanConfig, DuplicateScope};
use super::group::{Bits, UnionFind};
use super::minhash::{self, NUM_BANDS, ROW_BYTES, Row, Signature};
use super::spill::{HashSorter, Spool};
use super::token::{numbers_key, push_tokens, sequence_hash, text_hash, tokens};
use crate::generate::SIGNATURE_FIELD;
use crate::label::Label;
use crate::record::CotRecord;

/// What decides whether a record repeats another.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint {
    /// Equal for records that are the same; of 64 bits, so that among 20 million records
    /// the chance of any false match is one in 90,000.
    exact: Option<u64>,
    near: Option<Box<Signature>>,
}

impl Fingerprint {
    /// The fingerprint of a record. One with a problem's signature is known by it: other
    /// words do not make another problem, and two problems of one template, whose words
    /// are nearly equal, are different.
    pub(crate) fn of(record: &CotRecord, config: &CleanConfig) -> Self {
        let signature = record.extra.get(SIGNATURE_FIELD).and_then(|value| value.as_str());
        let mut text = match signature {
            Some(_) => Vec::new(),
            None => tokens(&record.question),
        };
        if config.duplicate_scope == DuplicateScope::Record {
            let label = match &record.label {
                Label::Correct | Label::Wrong { .. } => &[],
                Label::Corrected { wrong_thought_process, .. } => wrong_thought_process.as_slice(),
            };
            push_tokens(record.label.kind(), &mut text);
            for line in label.iter().chain(&record.thought_process).chain([&record.answer]) {
                push_tokens(line, &mut text);
            }
        }
        let hashes: Vec<u64> = text.iter().map(|token| token.hash).collect();
        let whole = sequence_hash(hashes.iter().copied());
        // A text of punctuation alone has no words, but is itself.
        let whole = if hashes.is_empty() { text_hash(&record.question, 1) } else { whole };
        let exact = match signature {
            Some(signature) if hashes.is_empty() => text_hash(signature, 2),
            Some(signature) => text_hash(signature, whole),
            None => whole,
        };
        let near = (config.near_duplicates && signature.is_none())
            .then(|| {
                let salt = if config.numbers_distinguish { numbers_key(&text) } else { 0 };
                minhash::signature(&hashes, salt)
            })
            .flatten();
        Self { exact: config.exact_duplicates.then_some(exact), near: near.map(Box::new) }
    }
}

/// Bytes of an entry in a sorter's memory.
const ENTRY_BYTES: usize = 16;
/// Shortest run in a file: more runs than a process may open files would be no use.
const SHORTEST_RUN: usize = 1 << 16;

/// The search while records come in.
#[derive(Debug)]
pub(crate) struct DuplicateSearch {
    exact: HashSorter,
    bands: Vec<HashSorter>,
    rows: Spool,
    /// Number of the record that each row belongs to.
    row_records: Vec<u32>,
    num_records: u32,
    ids: Ids,
    threshold: f64,
}

impl DuplicateSearch {
    /// A search within the configured memory, with its files in a folder.
    pub(crate) fn new(config: &CleanConfig, folder: &Path) -> Self {
        let bytes = config.memory_mib << 20;
        // A power of two, which is how a vector grows.
        let run_length = bytes / 2 / (NUM_BANDS + 1) / ENTRY_BYTES;
        let run_length = run_length.next_power_of_two() / 2;
        Self::with_runs(config, folder, run_length.max(SHORTEST_RUN), bytes / 4)
    }

    fn with_runs(config: &CleanConfig, folder: &Path, run_length: usize, spool: usize) -> Self {
        let sorter = |name: String| HashSorter::new(folder.join(name), run_length);
        Self {
            exact: sorter("exact".to_owned()),
            bands: (0..NUM_BANDS).map(|band| sorter(format!("band{band}"))).collect(),
            rows: Spool::new(folder.join("signatures"), spool),
            row_records: Vec::new(),
            num_records: 0,
            ids: Ids::new(folder, spool / 4),
            threshold: config.near_duplicate_threshold,
        }
    }

    /// Adds the next record.
    pub(crate) fn push(&mut self, id: &str, fingerprint: &Fingerprint) -> io::Result<()> {
        let number = self.num_records;
        let Some(next) = number.checked_add(1) else {
            return Err(io::Error::other("more than 4,294,967,295 records"));
        };
        self.num_records = next;
        self.ids.push(id)?;
        if let Some(exact) = fingerprint.exact {
            self.exact.push(exact, number)?;
        }
        if let Some(near) = &fingerprint.near {
            // Rows are not more than records.
            let row = self.row_records.len() as u32;
            self.row_records.push(number);
            let mut bytes = [0; ROW_BYTES];
            for (bytes, hash) in bytes.chunks_exact_mut(2).zip(&near.row) {
                bytes.copy_from_slice(&hash.to_le_bytes());
            }
            self.rows.append(&bytes)?;
            for (sorter, band) in self.bands.iter_mut().zip(near.bands) {
                sorter.push(band, row)?;
            }
        }
        Ok(())
    }

    /// Groups all records.
    pub(crate) fn finish(self) -> io::Result<Duplicates> {
        let Self { exact, bands, mut rows, row_records, num_records, ids, threshold } = self;
        let mut groups = UnionFind::new(num_records);
        exact.for_each_group(|group| {
            for number in &group[1..] {
                groups.unite(group[0], *number);
            }
            io::Result::Ok(())
        })?;
        let mut is_exact = Bits::default();
        for number in 0..num_records {
            let repeats = groups.find(number) != number;
            is_exact.push(repeats);
        }
        for band in bands {
            band.for_each_group(|group| {
                unite_similar(group, &mut rows, &row_records, &mut groups, threshold)
            })?;
        }
        for number in 0..num_records {
            groups.find(number);
        }
        Ok(Duplicates { kept: groups, is_exact, ids })
    }
}

/// Most texts of a bucket that others are compared with: it bounds the work on a bucket of
/// many texts that share a band and little else.
const MOST_LEADERS: usize = 32;

/// Unites the texts of a bucket that are similar: each is compared with the first text of
/// every group found in the bucket so far.
fn unite_similar(
    bucket: &[u32],
    rows: &mut Spool,
    row_records: &[u32],
    groups: &mut UnionFind,
    threshold: f64,
) -> io::Result<()> {
    let mut leaders: Vec<(u32, Option<Box<Row>>)> = Vec::new();
    for &row in bucket {
        let record = row_records[row as usize];
        let root = groups.find(record);
        // Already known, from another band or as exact copies.
        if leaders.iter().any(|(leader, _)| groups.find(row_records[*leader as usize]) == root) {
            continue;
        }
        if leaders.is_empty() {
            leaders.push((row, None));
            continue;
        }
        let own = read_row(rows, row)?;
        let mut similar = None;
        for (leader, cached) in &mut leaders {
            if cached.is_none() {
                *cached = Some(read_row(rows, *leader)?);
            }
            if cached.as_ref().is_some_and(|other| minhash::similarity(&own, other) >= threshold) {
                similar = Some(*leader);
                break;
            }
        }
        match similar {
            Some(leader) => groups.unite(row_records[leader as usize], record),
            None if leaders.len() < MOST_LEADERS => leaders.push((row, Some(own))),
            None => {}
        }
    }
    Ok(())
}

fn read_row(rows: &mut Spool, row: u32) -> io::Result<Box<Row>> {
    let mut bytes = [0; ROW_BYTES];
    rows.read(u64::from(row) * ROW_BYTES as u64, &mut bytes)?;
    let mut hashes = Box::new([0; minhash::NUM_HASHES]);
    for (hash, bytes) in hashes.iter_mut().zip(bytes.chunks_exact(2)) {
        *hash = u16::from_le_bytes([bytes[0], bytes[1]]);
    }
    Ok(hashes)
}

/// The groups.
#[derive(Debug)]
pub(crate) struct Duplicates {
    kept: UnionFind,
    is_exact: Bits,
    ids: Ids,
}

impl Duplicates {
    /// The earlier record that a record repeats, and whether it does so exactly.
    pub(crate) fn of(&mut self, number: u32) -> Option<(u32, bool)> {
        let kept = self.kept.find(number);
        (kept != number).then(|| (kept, self.is_exact.get(number as usize)))
    }

    /// The id of a record.
    pub(crate) fn id(&mut self, number: u32) -> io::Result<String> {
        self.ids.get(number)
    }
}

/// Ids by number: removed duplicates name the record that stays.
#[derive(Debug)]
struct Ids {
    bytes: Spool,
    ends: Spool,
}

impl Ids {
    fn new(folder: &Path, limit: usize) -> Self {
        Self {
            bytes: Spool::new(folder.join("ids"), limit),
            ends: Spool::new(folder.join("id-ends"), limit / 2),
        }
    }

    fn push(&mut self, id: &str) -> io::Result<()> {
        self.bytes.append(id.as_bytes())?;
        self.ends.append(&self.bytes.len().to_le_bytes())
    }

    fn get(&mut self, number: u32) -> io::Result<String> {
        let mut end = |number: u32| {
            let mut bytes = [0; 8];
            self.ends.read(u64::from(number) * 8, &mut bytes)?;
            io::Result::Ok(u64::from_le_bytes(bytes))
        };
        let start = if number == 0 { 0 } else { end(number - 1)? };
        let mut id = vec![0; (end(number)? - start) as usize];
        self.bytes.read(start, &mut id)?;
        String::from_utf8(id).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    fn record(question: &str) -> CotRecord {
        CotRecord {
            id: question.chars().take(12).collect(),
            question: question.to_owned(),
            answer: "1".to_owned(),
            ..CotRecord::default()
        }
    }

    /// For each record the earlier one that it repeats, and whether exactly.
    fn repeats(
        records: &[CotRecord],
        config: &CleanConfig,
        run_length: usize,
        spool: usize,
    ) -> Vec<Option<(u32, bool)>> {
        let folder = tempfile::tempdir().unwrap();
        let mut search = DuplicateSearch::with_runs(config, folder.path(), run_length, spool);
        for record in records {
            search.push(&record.id, &Fingerprint::of(record, config)).unwrap();
        }
        let mut found = search.finish().unwrap();
        for (number, record) in (0..).zip(records) {
            assert_eq!(found.id(number).unwrap(), record.id);
        }
        (0..records.len() as u32).map(|number| found.of(number)).collect()
    }

    fn in_memory(records: &[CotRecord]) -> Vec<Option<(u32, bool)>> {
        repeats(records, &CleanConfig::default(), 1 << 20, 1 << 30)
    }

    fn check(texts: &[&str], expect: &[Option<(u32, bool)>]) {
        let records: Vec<CotRecord> = texts.iter().map(|text| record(text)).collect();
        assert_eq!(in_memory(&records), expect, "{texts:?}");
    }

    /// A text of words drawn from 2000, and the text with words replaced by others.
    fn text(rng: &mut CounterRng, len: usize) -> Vec<String> {
        (0..len).map(|_| format!("w{}", rng.below(2000))).collect()
    }

    fn edited(rng: &mut CounterRng, words: &[String], places: &[usize]) -> Vec<String> {
        let mut words = words.to_vec();
        for place in places {
            words[*place] = format!("other{}", rng.below(1000));
        }
        words
    }

    /// 3000 texts of 60 words, then 300 with a word replaced in the middle (Jaccard index
    /// 51/61 = 0.84), 300 at the end (0.96) and 300 with five words (31/81 = 0.38).
    fn planted() -> Vec<CotRecord> {
        let mut rng = CounterRng::new(11);
        let mut texts: Vec<Vec<String>> = (0..3000).map(|_| text(&mut rng, 60)).collect();
        for places in [&[30][..], &[59], &[5, 15, 25, 35, 45]] {
            for base in 0..300 {
                let words = edited(&mut rng, &texts[base], places);
                texts.push(words);
            }
        }
        texts.iter().map(|words| record(&words.join(" "))).collect()
    }

    #[test]
    fn planted_near_duplicates_are_found_and_nothing_else() {
        let found = in_memory(&planted());
        let hits = |from: usize| {
            let slice = (0_u32..300).zip(&found[from..from + 300]);
            slice.filter(|(base, repeat)| **repeat == Some((*base, false))).count()
        };
        // Recall: the formula gives 0.971 for a shared band at 0.836, and nearly all pass
        // the threshold; at 0.96 both are 1. Precision is 1.
        assert!(hits(3000) >= 280, "{} of 300 at 0.84", hits(3000));
        assert_eq!(hits(3300), 300);
        let flagged = found.iter().flatten().count();
        assert_eq!(flagged, hits(3000) + hits(3300), "nothing else is flagged");
    }

    #[test]
    fn files_and_memory_give_the_same() {
        let mut records = planted();
        let mut rng = CounterRng::new(5);
        rng.shuffle(&mut records);
        records.extend_from_within(100..400);
        let config = CleanConfig::default();
        let whole = in_memory(&records);
        assert!(whole.iter().flatten().any(|(_, is_exact)| *is_exact));
        for (run_length, spool) in [(1000, 10_000), (170, 0), (4000, 1 << 30)] {
            assert_eq!(repeats(&records, &config, run_length, spool), whole);
        }
    }

    #[test]
    fn exact_duplicates_differ_in_case_and_punctuation_alone() {
        check(
            &["What is 3+5?", "what is  3 + 5", "What is 3-5?", "What is 3*5?", "?!", "?!", "!"],
            &[None, Some((0, true)), None, None, None, Some((4, true)), None],
        );
    }

    const STORY: &str = "A baker makes loaves of bread each morning and sells them on the market \
                         square for a few coins apiece, then walks home with what is left over \
                         and shares it with the neighbours, who bring some cheese and 12 eggs \
                         from the hens that live behind the old mill down by the river";

    #[test]
    fn problems_that_differ_in_a_number_are_different() {
        let other_number = STORY.replace("12", "13");
        let other_word = STORY.replace("cheese", "butter");
        let in_words = STORY.replace("12", "twelve");
        let texts = [STORY, &other_number, &other_word, &in_words];
        check(&texts, &[None, None, Some((0, false)), Some((0, false))]);
        // By shingles alone they are 0.83 similar, so no threshold could tell them apart.
        let records: Vec<CotRecord> = texts.iter().map(|text| record(text)).collect();
        let config = CleanConfig { numbers_distinguish: false, ..CleanConfig::default() };
        assert_eq!(repeats(&records, &config, 1 << 20, 1 << 20)[1], Some((0, false)));
    }

    #[test]
    fn problems_with_a_signature_are_known_by_it() {
        let signed = |question: &str, signature: &str| {
            let mut record = record(question);
            record.extra.insert(SIGNATURE_FIELD.to_owned(), signature.into());
            record
        };
        let records =
            [signed(STORY, "a"), signed(STORY, "b"), signed("In other words.", "a"), record(STORY)];
        assert_eq!(in_memory(&records), [None, None, Some((0, true)), None]);
    }

    #[test]
    fn texts_without_spaces_are_compared_by_characters() {
        let first =
            "小明在商店里买了三个苹果和四个梨然后他把一半的水果给了他的弟弟他还剩下多少水果请回答";
        let second = first.replace("请回答", "请作答");
        let third =
            "今天天气很好我们一起去公园里散步看见许多漂亮的花和鸟大家都非常高兴一直玩到傍晚才回家";
        check(&[first, &second, third], &[None, Some((0, false)), None]);
    }

    #[test]
    fn the_scope_says_whether_chains_count() {
        let with = |chain: &str| CotRecord {
            thought_process: vec![chain.to_owned()],
            ..record("How much is it?")
        };
        let records = [with("Two and two are four."), with("One less than five."), {
            let mut record = with("One less than five.");
            record.label = Label::Wrong { first_wrong_step: 0, error: "sign".to_owned() };
            record
        }];
        assert_eq!(in_memory(&records), [None, Some((0, true)), Some((0, true))]);
        let config =
            CleanConfig { duplicate_scope: DuplicateScope::Record, ..CleanConfig::default() };
        assert_eq!(repeats(&records, &config, 1 << 20, 1 << 20), [None, None, None]);
    }

    #[test]
    fn either_search_can_be_switched_off() {
        let records = [record(STORY), record(STORY), record(&STORY.replace("cheese", "butter"))];
        let off = |exact_duplicates, near_duplicates| {
            let config =
                CleanConfig { exact_duplicates, near_duplicates, ..CleanConfig::default() };
            repeats(&records, &config, 1 << 20, 1 << 20)
        };
        assert_eq!(off(false, false), [None, None, None]);
        assert_eq!(off(true, false), [None, Some((0, true)), None]);
        assert_eq!(off(false, true), [None, Some((0, false)), Some((0, false))]);
    }
}
