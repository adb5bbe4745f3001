//! Micro-benchmarks of the parts that every message passes: `scripts/bench micro`.
//!
//! `cases.rs` is the list of operations. They are counted in instructions (`count.rs`), which are the same on a busy machine
//! as on a quiet one, so two of them can be compared to a percent; and they can be timed by divan (`--time`), which a noisy
//! machine distorts, but which sees caches and branches. The committed baseline is of instructions.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose purpose is a table"
)]

mod cases;
mod count;
#[path = "../machine.rs"]
mod machine;

use std::process::ExitCode;

use cases::{CASES, Case};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &*words {
        [] => count::run(count::Then::Print),
        ["--compare"] => count::run(count::Then::Judge),
        ["--save"] => count::run(count::Then::Save),
        ["--list"] => {
            for case in CASES {
                println!("{:<24} {}", case.name, case.about);
            }
            Ok(true)
        }
        ["--once", name, times] => count::repeat(name, times),
        ["--time", ..] => {
            divan::main();
            Ok(true)
        }
        _ => {
            eprintln!("scripts/bench micro [--compare | --save | --time | --list]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("scripts/bench micro: {e}");
            ExitCode::FAILURE
        }
    }
}

#[divan::bench(args = CASES)]
fn time(bencher: divan::Bencher<'_, '_>, case: &Case) {
    bencher.bench_local((case.make)());
}
