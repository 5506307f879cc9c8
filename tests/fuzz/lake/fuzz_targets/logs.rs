//! Log entries of a table.
#![no_main]

// Panics of libraries that are taken for what they are, an entry that can't be read, don't end the program.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| headwater_fuzz_lake::logs::check(bytes));
