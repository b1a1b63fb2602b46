//! Asks the processor to bring memory nearer before it is needed.
//!
//! A hint and nothing else: no value is read, nothing can fault, and without it every program computes the same. Below the
//! packet path, where one login among a million services waits for a dozen lines of memory one after another; asked for
//! a whole batch of datagrams first, they come while others are on their way.

#![expect(unsafe_code, reason = "the instruction has no safe form; it reads nothing and cannot fault")]

/// Bytes of a cache line.
const LINE: usize = 64;
/// Lines asked for of one value: beyond them the processor's own look-ahead follows.
const LINES_MAX: usize = 8;

/// Asks for the lines that `value` lies in.
pub fn touch<T: ?Sized>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    let lines = (start.addr() % LINE + size_of_val(value)).div_ceil(LINE);
    for line in 0..lines.min(LINES_MAX) {
        ask(start.wrapping_add(line * LINE));
    }
}

#[cfg(target_arch = "x86_64")]
fn ask(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: PREFETCHT0 (Intel SDM, AMD APM vol. 3) is a hint; it changes no state that a program can see and never faults,
    // whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn ask(_: *const u8) {}
