//! How much memory the process has taken, and how much the machine has for it.

use std::fs;

/// The highest resident memory of this process so far, in bytes (`VmHWM` of
/// `/proc/self/status`). `None` where the system does not say it that way.
pub fn peak_memory_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The resident memory of this process now, in bytes. `None` as for
/// [`peak_memory_bytes`].
pub fn resident_memory_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes that this process may still take without swapping: `MemAvailable` of
/// `/proc/meminfo`, or what its control group (version 2) leaves it if that is less.
/// `None` where the system does not say it that way.
pub fn available_memory_bytes() -> Option<u64> {
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(group_memory_bytes().map_or(machine, |group| machine.min(group)))
}

/// All memory of the machine, in bytes. `None` as for [`available_memory_bytes`].
pub fn total_memory_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The control group's limit less what its processes hold themselves; cached files give
/// way.
fn group_memory_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = format!("/sys/fs/cgroup{}", own.trim_end_matches('/'));
    let limit: u64 =
        fs::read_to_string(format!("{folder}/memory.max")).ok()?.trim().parse().ok()?;
    let statistics = fs::read_to_string(format!("{folder}/memory.stat")).ok()?;
    let held = statistics.lines().find_map(|line| line.strip_prefix("anon "))?.parse().ok()?;
    Some(limit.saturating_sub(held))
}

/// The number after `key` in the kernel's lists of `key  number kB`.
fn kilobytes(list: &str, key: &str) -> Option<u64> {
    let line = list.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_format_is_read() {
        let status = "Name:\tx\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(123_456 * 1024));
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1024));
        assert_eq!(kilobytes("Name:\tx\n", "VmHWM:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_grows_with_what_was_touched() {
        let before = peak_memory_bytes().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert_eq!(block.iter().map(|&byte| byte as u64).sum::<u64>(), 64 << 20);
        assert!(peak_memory_bytes().unwrap() >= before.max(60 << 20));
        assert!(resident_memory_bytes().unwrap() >= 60 << 20);
        assert!(available_memory_bytes().unwrap() > 1 << 20);
    }
}
