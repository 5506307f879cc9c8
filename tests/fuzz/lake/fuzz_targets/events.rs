//! Bodies of messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headwater_fuzz_lake::events::check(bytes));
