//! Schemas as they are written in SQL.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headwater_fuzz::schemas::check(bytes));
