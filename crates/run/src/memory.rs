//! How much memory the process has taken.

/// The highest resident memory of this process so far, in bytes (`VmHWM` of
/// `/proc/self/status`). `None` where the system does not say it that way.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse(&status)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_format_is_read() {
        assert_eq!(parse("Name:\tx\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n"), Some(123_456 * 1024));
        assert_eq!(parse("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_grows_with_what_was_touched() {
        let before = peak_memory_bytes().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert_eq!(block.iter().map(|&byte| byte as u64).sum::<u64>(), 64 << 20);
        assert!(peak_memory_bytes().unwrap() >= before.max(60 << 20));
    }
}
