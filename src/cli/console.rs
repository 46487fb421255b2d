//! Standard output and standard error, one line a fact. A reader that went away is no reason to fail.

use std::io::{self, IsTerminal as _, Write as _};

/// Where the facts of `run` go that a person or a script waits for.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    terminal: bool,
}

impl Console {
    /// The process's standard output.
    pub fn stdout() -> Self {
        Self { terminal: io::stdout().is_terminal() }
    }

    /// Whether a person sees it, who can scan a code.
    pub const fn is_terminal(self) -> bool {
        self.terminal
    }

    /// One fact; written through at once, so that whoever waits sees it.
    pub fn line(self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// Text as it is.
    pub fn print(self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// One line on standard error.
pub(super) fn complain(text: &str) {
    let line = text.replace('\n', " ");
    let _ = writeln!(io::stderr(), "error: {line}");
}
