//! What becomes of memory that was freed: glibc's allocator has knobs for it.

/// Tells glibc to keep freed memory instead of giving it back after every operation:
/// activations of a few megabytes would otherwise be mapped, zeroed page by page and
/// unmapped again for each of them.
pub(crate) fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const KEPT_BYTES: i32 = 1 << 30;
        // SAFETY: mallopt only sets two integers of the allocator; it is called before
        // any other thread exists.
        #[expect(unsafe_code, reason = "the allocator's knobs have no safe interface")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
        }
    }
}

/// Gives back what loading left in pieces: the parts of a large tokenizer's file are of no use
/// to activations, which need whole pages.
pub(crate) fn release_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: malloc_trim takes the allocator's own locks and touches only free memory.
        #[expect(unsafe_code, reason = "the allocator's knobs have no safe interface")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
