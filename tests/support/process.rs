//! Runs the program under test as a process, with arguments, environment, output lines, signals and an exit code.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::eventually::{PATIENCE, eventually};
use super::guard::Leash;
use super::signal;

/// A running readcast process. Dropping this value kills it, and prints its output if the test fails.
pub(crate) struct Readcast {
    child: Child,
    leash: Leash,
    /// Whether `child` is reaped. Its pid may then belong to another process.
    ended: Option<ExitStatus>,
    transcript: watch::Receiver<Transcript>,
    _dir: Option<TempDir>,
}

/// The log message of `readcast run` when its admin server listens.
const LISTENS: &str = "admin server on http://";

/// The exit status and output of an ended process.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// The lines so far, in the order of reading.
#[derive(Default)]
struct Transcript {
    lines: Vec<(Stream, String)>,
    /// The number of streams that have ended, of two.
    ended_streams: u32,
}

impl Readcast {
    /// Starts readcast in a new empty directory, without a configuration file.
    pub(crate) fn start<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, envs: &[(&str, &str)]) -> Readcast {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut readcast = Readcast::start_in(dir.path(), args, envs);
        readcast._dir = Some(dir);
        readcast
    }

    /// The command that runs readcast in `dir`, with `envs` and no other variables that configure it or its libraries.
    pub(crate) fn command<A: AsRef<OsStr>>(
        dir: &Path,
        args: impl IntoIterator<Item = A>,
        envs: &[(&str, &str)],
    ) -> Command {
        Readcast::command_of(env!("CARGO_BIN_EXE_shop"), dir, args, envs)
    }

    /// The command that runs a program built with readcast.
    fn command_of<A: AsRef<OsStr>>(
        program: &str,
        dir: &Path,
        args: impl IntoIterator<Item = A>,
        envs: &[(&str, &str)],
    ) -> Command {
        let mut command = Command::new(program);
        for name in configuration() {
            command.env_remove(name);
        }
        command.args(args).envs(envs.iter().copied()).current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts readcast in `dir`, with `envs` and nothing else of what configures it or its libraries.
    pub(crate) fn start_in<A: AsRef<OsStr>>(
        dir: &Path,
        args: impl IntoIterator<Item = A>,
        envs: &[(&str, &str)],
    ) -> Readcast {
        Readcast::spawn(Readcast::command(dir, args, envs))
    }

    /// Starts the example bank in a new empty directory.
    pub(crate) fn start_bank<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, envs: &[(&str, &str)]) -> Readcast {
        Readcast::start_program(env!("CARGO_BIN_EXE_bank"), args, envs)
    }

    /// Starts the released program, whose projections are files, in a new empty directory.
    pub(crate) fn start_released<A: AsRef<OsStr>>(
        args: impl IntoIterator<Item = A>,
        envs: &[(&str, &str)],
    ) -> Readcast {
        Readcast::start_program(env!("CARGO_BIN_EXE_readcast"), args, envs)
    }

    fn start_program<A: AsRef<OsStr>>(
        program: &str,
        args: impl IntoIterator<Item = A>,
        envs: &[(&str, &str)],
    ) -> Readcast {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut started = Readcast::spawn(Readcast::command_of(program, dir.path(), args, envs));
        started._dir = Some(dir);
        started
    }

    /// Runs the released program and waits for its end.
    pub(crate) async fn run_released<A: AsRef<OsStr>>(
        args: impl IntoIterator<Item = A>,
        envs: &[(&str, &str)],
    ) -> Finished {
        Readcast::start_released(args, envs).finish().await
    }

    /// Waits for the end.
    pub(crate) async fn finish(mut self) -> Finished {
        let status = self.wait().await;
        Finished { status, stdout: self.stdout(), stderr: self.stderr() }
    }

    fn spawn(mut command: Command) -> Readcast {
        let mut child = command.spawn().expect("cargo has built the program");
        let (writer, transcript) = watch::channel(Transcript::default());
        collect(Stream::Stdout, child.stdout.take().expect("it is a pipe"), writer.clone());
        collect(Stream::Stderr, child.stderr.take().expect("it is a pipe"), writer);
        Readcast { leash: Leash::tie(child.id()), child, ended: None, transcript, _dir: None }
    }

    /// Runs readcast and waits for its end.
    pub(crate) async fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, envs: &[(&str, &str)]) -> Finished {
        Readcast::start(args, envs).finish().await
    }

    /// The peak of the resident memory of the process, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("tests run on Linux");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells it");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits for a line of either stream that `wanted` accepts, and returns it. Earlier lines count too.
    pub(crate) async fn wait_for_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for_line_after(0, wanted).await
    }

    /// As [`Self::wait_for_line`], but only for lines after a [`Self::mark`].
    pub(crate) async fn wait_for_line_after(&mut self, mark: usize, wanted: impl Fn(&str) -> bool) -> String {
        let find = |transcript: &Transcript| {
            let mut lines = transcript.lines.iter().skip(mark).map(|(_, line)| line);
            lines.find(|line| wanted(line)).cloned()
        };
        // If both streams have ended, the line can no longer come.
        let news = self.transcript.wait_for(|transcript| find(transcript).is_some() || transcript.ended_streams == 2);
        let found = match timeout(PATIENCE, news).await {
            Ok(Ok(transcript)) => find(&transcript),
            Ok(Err(_)) | Err(_) => None,
        };
        found.unwrap_or_else(|| {
            panic!("readcast (ended: {:?}) should have printed the line waited for", self.try_wait())
        })
    }

    /// The number of lines so far.
    pub(crate) fn mark(&self) -> usize {
        self.transcript.borrow().lines.len()
    }

    pub(crate) fn stdout(&self) -> String {
        self.transcript.borrow().text(Stream::Stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        self.transcript.borrow().text(Stream::Stderr)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request to the admin server after it listens. Returns status line, headers and body.
    pub(crate) async fn get(&mut self, path: &str) -> String {
        let line = self.wait_for_line(|line| line.contains(LISTENS)).await;
        let address = line.rsplit(LISTENS).next().expect("the line has an address");
        let mut connection = TcpStream::connect(address).await.expect("the admin server listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("the admin server reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("the admin server answers");
        answer
    }

    /// Sends SIGKILL, which ends a running or stopped process at once. Returns after it has ended.
    pub(crate) fn kill9(&mut self) {
        if self.try_wait().is_none() {
            // A process that ends by itself keeps its pid until it is reaped.
            signal::send(self.child.id(), signal::SIGKILL);
            self.reaped(|child| child.wait().map(Some));
        }
    }

    /// Sends SIGSTOP: the process exists but does not run, as in a long pause of its machine.
    pub(crate) fn stop(&mut self) {
        self.signal(signal::SIGSTOP);
    }

    /// Sends SIGCONT: the process resumes.
    pub(crate) fn cont(&mut self) {
        self.signal(signal::SIGCONT);
    }

    /// Sends SIGTERM, the request to drain and end.
    pub(crate) fn terminate(&mut self) {
        self.signal(signal::SIGTERM);
    }

    /// Asks a `readcast run` to end, and checks that it exits successfully.
    pub(crate) async fn ends_well(&mut self) {
        // Before the admin server listens, signals may not be handled yet.
        self.wait_for_line(|line| line.contains(LISTENS)).await;
        self.terminate();
        let status = self.wait().await;
        assert!(status.success(), "{status}\n{}", self.stderr());
    }

    /// Waits until the process dies at its failpoint.
    pub(crate) async fn dies_at(&mut self, failpoint: &str) {
        self.wait_for_line(|line| line == format!("failpoint {failpoint}")).await;
        self.wait().await;
    }

    /// Waits for the end of the process and of its output.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let mut transcript = self.transcript.clone();
        let drained = transcript.wait_for(|transcript| transcript.ended_streams == 2);
        // No failure yet: the deadline below reports a process that still runs, with its output.
        let _ = timeout(PATIENCE, drained).await;
        eventually("readcast ends", PATIENCE, async || self.try_wait().ok_or("it is running")).await
    }

    /// The exit status, if the process has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.reaped(Child::try_wait)
    }

    fn reaped(&mut self, ask: impl FnOnce(&mut Child) -> std::io::Result<Option<ExitStatus>>) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = ask(&mut self.child).expect("it is our child");
            if self.ended.is_some() {
                self.leash.untie();
            }
        }
        self.ended
    }

    fn signal(&mut self, signal: i32) {
        assert!(self.try_wait().is_none(), "readcast should be running, and has ended: {:?}", self.ended);
        signal::send(self.child.id(), signal);
    }
}

impl Drop for Readcast {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("readcast {} ({:?}) printed:\n{}", self.child.id(), self.ended, *self.transcript.borrow());
        }
    }
}

impl Transcript {
    fn text(&self, wanted: Stream) -> String {
        self.lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, line)| format!("{line}\n")).collect()
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (stream, line) in &self.lines {
            let name = if *stream == Stream::Stdout { "out" } else { "err" };
            writeln!(f, "  {name}: {line}")?;
        }
        Ok(())
    }
}

/// The variables of a developer's shell that would affect a test.
pub(crate) fn configuration() -> impl Iterator<Item = OsString> {
    let is_configuration = |name: &str| {
        let ours = name.starts_with("READCAST_") || name.starts_with("PG") || name.starts_with("OTEL_");
        ours || ["DATABASE_URL", "RUST_LOG", "LOG_FORMAT", "NO_COLOR"].contains(&name)
    };
    std::env::vars_os().map(|(name, _)| name).filter(move |name| is_configuration(&name.to_string_lossy()))
}

/// Reads a stream to its end on its own thread: a full pipe would block the program under test.
fn collect(stream: Stream, pipe: impl Read + Send + 'static, transcript: watch::Sender<Transcript>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            transcript.send_modify(|transcript| transcript.lines.push((stream, line)));
        }
        transcript.send_modify(|transcript| transcript.ended_streams += 1);
    });
}
