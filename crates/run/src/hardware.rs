//! The machine in words, for the record of what was measured on it.

use std::fs;

use crate::memory::total_memory_bytes;

/// The processor, the cores that this process may use, and the memory: `Xeon 8375C, 2 cores,
/// 16.5 GB`. What the system does not tell is left out; a machine's name is never part of it.
pub fn hardware() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    words(&info, cores, total_memory_bytes())
}

fn words(cpuinfo: &str, cores: usize, memory: Option<u64>) -> String {
    let mut parts = Vec::new();
    let model = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        ["model name", "Model", "cpu model"].contains(&key.trim()).then(|| value.trim())
    });
    parts.extend(model.filter(|model| !model.is_empty()).map(str::to_owned));
    match cores {
        0 => {}
        1 => parts.push("1 core".to_owned()),
        cores => parts.push(format!("{cores} cores")),
    }
    parts.extend(memory.map(|bytes| format!("{:.1} GB", bytes as f64 / 1e9)));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn what_is_known_is_said() {
        let info = "processor\t: 0\nmodel name\t: Fast CPU @ 2.90GHz\nflags: a b\n";
        assert_eq!(words(info, 2, Some(16_500_000_000)), "Fast CPU @ 2.90GHz, 2 cores, 16.5 GB");
        assert_eq!(words("", 1, None), "1 core");
        assert_eq!(words("", 0, None), "");
    }
}
