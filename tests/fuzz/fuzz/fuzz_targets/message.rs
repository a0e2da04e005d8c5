#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    foliomq_fuzz::message(data);
});
