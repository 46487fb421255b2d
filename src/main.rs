//! Arguments → settings → the work. No decisions here.

fn main() -> std::process::ExitCode {
    wazap::cli::main(std::env::args_os())
}
