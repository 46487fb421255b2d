//! Starts the program and reads what it says.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Longest wait for a line or an end. A machine that is busy is slow; a program that hangs is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one call said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A call in `folder`, with no variable of ours set but those given.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wazap"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WAZAP_")) {
        command.env_remove(name);
    }
    command
}

pub fn call(folder: &Path, arguments: &[&str]) -> Outcome {
    outcome(command(folder, arguments))
}

pub fn outcome(mut command: Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Outcome {
    /// The one line of a failure.
    pub fn complaint(&self, code: i32) -> &str {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        let line = self.err.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "one line: {line}");
        line.strip_prefix("error: ").unwrap()
    }
}

/// A program that runs on; ended when dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child =
            command(folder, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line of standard output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// The next line, without the beginning that it must have.
    pub fn line_after(&self, start: &str) -> String {
        let line = self.line();
        line.strip_prefix(start)
            .unwrap_or_else(|| panic!("{line:?} does not begin with {start:?}"))
            .to_owned()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The exit code; all that it still said.
    pub fn end(mut self) -> (Option<i32>, Vec<String>) {
        // The channel closes when the program closes its output, at its end.
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the program did not end"),
            }
        }
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
