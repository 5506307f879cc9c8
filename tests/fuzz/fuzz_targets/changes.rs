//! Changes of rows in their envelope.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headwater_fuzz::changes::check(bytes));
