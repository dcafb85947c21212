//! See [`roost_fuzz::frame`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| roost_fuzz::frame(bytes));
