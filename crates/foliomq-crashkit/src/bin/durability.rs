//! Tries what the store promises, and writes the page about it: `durability docs/durability.md [images] [flips in logs] [flips in an index]`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use foliomq_crashkit::{Effort, page, seed};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("docs/durability.md".to_owned());
    let mut number = |default: u64| {
        let given = arguments.next().and_then(|text| text.parse().ok());
        given.unwrap_or(default)
    };
    let effort = Effort {
        images: number(10_000),
        rounds: 20,
        flips: (number(70_000), number(1000)),
        patience: 20_000,
    };
    let written = page(effort, seed())
        .and_then(|page| std::fs::write(&path, page).map_err(|error| format!("{path}: {error}")));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
