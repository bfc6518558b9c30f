use std::process::ExitCode;

fn main() -> ExitCode {
    hafail::cli::main()
}
