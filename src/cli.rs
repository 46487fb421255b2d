//! The command line: sub-commands, exit codes, signals, the log. What a command does stands in the rooms above.

mod audit;
mod console;
mod doctor;
mod logging;
mod reach;
mod rekey;
mod sandbox;
mod token;

use std::{ffi::OsString, future::Future, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, ConfigError, Layers, Settings, VARIABLES},
    store,
};

pub use console::Console;

/// Stack of one runtime thread. Handlers are shallow; a deeper one would be a bug worth seeing.
const STACK: usize = 512 * 1024;
/// Who the audit names when the command line changed something.
const ACTOR: &str = "command line";

/// A server for one WhatsApp number.
#[derive(Parser)]
#[command(name = "wazap", version, about, long_about = None, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// The instance: one process, one WhatsApp number. Also what wazap alone does
    Run(RunArgs),
    /// A simulated WhatsApp on loopback, for tests and for other clients
    Sandbox(sandbox::Args),
    /// The sk_ tokens of the instance in --data; works while the instance runs
    Token(token::Args),
    /// Who did what to the access of the instance: a line each, time, who, what and details, separated by tabs
    Audit(audit::Args),
    /// Encrypts the database of a stopped instance, changes its key, or decrypts it
    Rekey(rekey::Args),
    /// Checks the data folder, the configuration and the reachability of WhatsApp and the platform
    Doctor(RunArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    settings: Settings,
    /// Start a simulated WhatsApp in the same process and link to it: no network, no account, no phone
    #[arg(long)]
    sandbox: bool,
}

/// Why a command ended badly; each is one line on standard error and an exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong usage or configuration.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Which trouble with the data folder, and what to do.
    #[error("{}{}", .0, remedy(.0))]
    Store(#[from] store::Error),
    #[error("{0}")]
    Unexpected(String),
    /// Everything was said on standard output already.
    #[error("")]
    Said,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Config(_)
            | Self::Store(store::Error::KeyMissing | store::Error::NotEncrypted) => 2,
            Self::Store(
                store::Error::Locked
                | store::Error::Damaged(_)
                | store::Error::KeyWrong
                | store::Error::Folder(_)
                | store::Error::TooNew { .. }
                | store::Error::TooOld { .. },
            ) => 3,
            Self::Store(_) | Self::Unexpected(_) | Self::Said => 1,
        }
    }
}

/// What an operator can do; some errors say so themselves.
const fn remedy(error: &store::Error) -> &'static str {
    match error {
        store::Error::Locked => "; stop that process, or choose another folder with --data",
        store::Error::Folder(_) => "; make it writable for this user, or choose another folder with --data",
        _ => "",
    }
}

/// Runs the program. Ends the process by itself only at a second signal.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // The one cryptography provider, for every TLS connection of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failure = match parse(arguments) {
        Ok(Some(cli)) => match dispatch(cli) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Ok(None) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    if !matches!(failure, Failure::Said) {
        console::complain(&failure.to_string());
    }
    ExitCode::from(failure.code())
}

/// `None`: help or version was asked for, and printed.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Cli>, Failure> {
    let matches = command().try_get_matches_from(arguments);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => Ok(Some(cli)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Console::stdout().print(&error.to_string());
            Ok(None)
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::Usage("a sub-command is missing; --help lists them".into()))
        }
        Err(error) => {
            // Clap explains over several lines; the first paragraph says what is wrong.
            let text = error.to_string();
            let first: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let line = first.join(" ");
            Err(Failure::Usage(format!("{} (see --help)", line.strip_prefix("error: ").unwrap_or(&line))))
        }
    }
}

/// The command tree; each setting's help names its environment variable too.
fn command() -> clap::Command {
    fn name_variables(mut command: clap::Command) -> clap::Command {
        command = command.mut_args(|arg| match arg.get_long() {
            Some(long) if VARIABLES.contains(&long) && arg.get_help().is_some() => {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let variable = long.replace('-', "_").to_ascii_uppercase();
                arg.help(format!("{help} [env: WAZAP_{variable}]"))
            }
            _ => arg,
        });
        command.mut_subcommands(name_variables)
    }
    let mut command = Cli::command();
    // `sandbox --listen` is a flag of its own, without a variable.
    let sandbox = command.find_subcommand("sandbox").cloned();
    command = name_variables(command);
    match sandbox {
        Some(original) => command.mut_subcommand("sandbox", |_| original),
        None => command,
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => run(&cli.run),
        Some(Command::Run(args)) => run(&args),
        Some(Command::Sandbox(args)) => sandbox::run(&args),
        Some(Command::Token(args)) => token::run(args),
        Some(Command::Audit(args)) => audit::run(args),
        Some(Command::Rekey(args)) => rekey::run(args),
        Some(Command::Doctor(args)) => doctor::run(&args.settings, args.sandbox),
    }
}

fn run(args: &RunArgs) -> Result<(), Failure> {
    let config = Config::read(&Layers::new(&args.settings, variable)?, args.sandbox)?;
    logging::start(&config.log, config.log_format);
    block_on(async move {
        let stop = on_signal()?;
        crate::run(config, Console::stdout(), stop.cancelled_owned()).await
    })
}

/// An environment variable that is text.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A small runtime: two workers carry one instance easily, and each thread costs memory in every one of hundreds.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|error| Failure::Unexpected(format!("the runtime did not start: {error}")))?;
    let result = runtime.block_on(work);
    // What still blocks (a name lookup, say) must not hold the exit.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Cancelled at the first SIGTERM or SIGINT; the second ends the process at once. Nothing committed is lost by that.
fn on_signal() -> Result<CancellationToken, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let fault = |error: std::io::Error| Failure::Unexpected(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        loop {
            let code = tokio::select! { _ = terminate.recv() => 143, _ = interrupt.recv() => 130 };
            if first.is_cancelled() {
                std::process::exit(code);
            }
            first.cancel();
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::{Cli, command, parse};
    use clap::CommandFactory as _;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn a_usage_error_is_one_line() {
        let arguments = ["wazap", "run", "--no-such-flag"].map(Into::into);
        let line = parse(arguments).err().unwrap().to_string();
        assert_eq!(line, "unexpected argument '--no-such-flag' found (see --help)");
    }
}
