//! A whole MetaImage file: streamed, kept in memory, and read as labels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scanside_fuzz::scan_file::{Files, check};
use std::sync::{LazyLock, Mutex};

static FILES: LazyLock<Mutex<Files>> = LazyLock::new(|| Files::new(".mha"));

fuzz_target!(|bytes: &[u8]| check(&FILES, bytes));
