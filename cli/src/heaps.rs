//! How much memory the C library keeps for threads.
#![expect(unsafe_code, reason = "the C library has no other way to be told than a call of it")]

/// Lets the threads share as many heaps as there are processors.
///
/// The C library's own rule is a heap for each thread, up to eight for each processor: what is freed in one is of no use to the others, and a
/// process that rewrites row groups holds a fifth more memory for it. To be called before there is a second thread. Whoever sets
/// `MALLOC_ARENA_MAX` or `GLIBC_TUNABLES` decides otherwise.
pub(crate) fn share() {
    if ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"].into_iter().all(|name| std::env::var_os(name).is_none()) {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let heaps = libc::c_int::try_from(processors.max(2)).unwrap_or(libc::c_int::MAX);
        // SAFETY: it takes two numbers and changes nothing but the rule for heaps to come; no other thread runs yet. Where it can't, the rule stays.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    }
}
