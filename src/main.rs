//! The binary: hands the command line to `wsd::cli` and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    wsd::cli::main(std::env::args_os())
}
