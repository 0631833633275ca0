//! Memory in large pages: a matrix that is read front to back for each token otherwise costs a
//! look into the page tables for every 4 KiB of it.

use std::mem::MaybeUninit;

/// An empty vector with room for `capacity` elements, in pages of 2 MiB where the system gives
/// them to those who ask.
pub fn vec_with_capacity<T>(capacity: usize) -> Vec<T> {
    let mut vector = Vec::with_capacity(capacity);
    advise(vector.spare_capacity_mut());
    vector
}

/// Asks for large pages where none has been touched yet. Refusals change nothing.
fn advise<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let range = memory.as_mut_ptr_range();
        let start = range.start.addr().next_multiple_of(PAGE);
        let end = range.end.addr() / PAGE * PAGE;
        if start < end {
            let address = range.start.with_addr(start).cast();
            // SAFETY: whole pages within memory that is borrowed mutably; the advice changes how
            // they are backed and not what they hold.
            #[expect(unsafe_code, reason = "the kernel's advice has no safe interface")]
            unsafe {
                libc::madvise(address, end - start, libc::MADV_HUGEPAGE);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_filled_as_any() {
        for capacity in [0, 1, 1000, 5 << 20] {
            let mut vector = vec_with_capacity::<u32>(capacity);
            assert!(vector.is_empty() && vector.capacity() >= capacity);
            vector.extend(0..capacity as u32);
            assert!(vector.iter().enumerate().all(|(place, &number)| place == number as usize));
        }
    }

    /// What `/proc` says of a vector's memory, where large pages can be had at all.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_large_vector_is_in_large_pages() {
        let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        if setting.is_ok_and(|setting| setting.contains("[never]")) {
            return;
        }
        let mut vector = vec_with_capacity::<u64>(1 << 20);
        vector.resize(1 << 20, 1);
        let address = vector.as_ptr().addr() + (4 << 20);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut holds = false;
        let flags = maps.lines().find(|line| {
            if let Some((start, rest)) = line.split_once('-')
                && let (Ok(start), Some((end, _))) =
                    (usize::from_str_radix(start, 16), rest.split_once(' '))
                && let Ok(end) = usize::from_str_radix(end, 16)
            {
                holds = (start..end).contains(&address);
            }
            holds && line.starts_with("VmFlags:")
        });
        // "hg": large pages were asked for.
        assert!(flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "hg")), "{flags:?}");
    }
}
