//! Ends the servers and processes of the tests with the test process, even if it panics or is killed by SIGKILL.
//!
//! Each guard is a shell that reads a pipe whose other end only this process holds. When the process ends, the kernel
//! closes the pipe, and the shell cleans up. Unlike a parent-death signal this works on every Unix, survives a change
//! of user, does not depend on the thread that started the process, and can also delete directories and remove
//! containers.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::signal;

/// `$1` is the signal that stops the server, `$2` its directory, the rest its command. Each input line restarts the
/// server.
const SERVER: &str = r#"
signal=$1 dir=$2; shift 2
start() { "$@" >>"$dir/server.log" 2>&1 </dev/null & echo $!; }
start "$@"
while read -r _; do wait $!; start "$@"; done
kill -CONT $!; kill -"$signal" $!; wait $!
rm -rf -- "$dir"
"#;

/// `$1` is a child process. An input line means that the process was reaped, so its pid must not be used any more.
const LEASH: &str = r#"read -r _ || kill -KILL "$1""#;

/// `$1` is a container. Without the command line tool of the container engine, the container remains.
const CONTAINER: &str = r#"cat; docker rm --force --volumes "$1""#;

/// The user that runs a server.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The command that starts a server, and the signal that stops it.
pub(crate) struct Server {
    pub(crate) dir: PathBuf,
    pub(crate) account: Option<Account>,
    /// The name of the signal that ends the server at once, for `kill`.
    pub(crate) stop: &'static str,
    pub(crate) command: Vec<OsString>,
}

/// A server process that logs to `server.log` in its own directory. Dropping this value stops the server and deletes
/// the directory.
pub(crate) struct ServerGuard {
    shell: Shell,
    pids: BufReader<ChildStdout>,
    pid: u32,
    dir: PathBuf,
}

impl ServerGuard {
    pub(crate) fn start(server: Server) -> ServerGuard {
        let mut command = shell(SERVER);
        command.stdout(Stdio::piped()).arg(server.stop).arg(&server.dir).args(&server.command);
        if let Some(Account { uid, gid }) = server.account {
            command.uid(uid).gid(gid);
        }
        let mut shell = Shell::spawn(command.current_dir(&server.dir));
        let pids = shell.child.stdout.take().expect("the guard's standard output is a pipe");
        let mut guard = ServerGuard { shell, pids: BufReader::new(pids), pid: 0, dir: server.dir };
        guard.read_pid();
        guard
    }

    /// Sends a signal to the server, which must be running.
    pub(crate) fn signal(&self, signal: i32) {
        signal::send(self.pid, signal);
    }

    /// Restarts the server with the same directory and command after a signal has ended it.
    pub(crate) fn start_again(&mut self) {
        self.shell.say_line();
        self.read_pid();
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The end of the server's log, for error messages.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn read_pid(&mut self) {
        let mut line = String::new();
        self.pids.read_line(&mut line).expect("the guard announces the server's pid");
        self.pid = line.trim().parse().expect("the guard announces a number");
    }
}

/// Kills a child process if this process ends before it has reaped the child.
pub(crate) struct Leash(Shell);

impl Leash {
    pub(crate) fn tie(pid: u32) -> Leash {
        Leash(Shell::spawn(shell(LEASH).arg(pid.to_string())))
    }

    /// Must be called after the process was reaped.
    pub(crate) fn untie(&mut self) {
        self.0.say_line();
    }
}

/// A running container. Dropping this removes it.
pub(crate) struct ContainerGuard {
    _shell: Shell,
}

impl ContainerGuard {
    pub(crate) fn watch(container_id: &str) -> ContainerGuard {
        ContainerGuard { _shell: Shell::spawn(shell(CONTAINER).arg(container_id)) }
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "guard"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The shell and the writing end of its pipe. No other child inherits the pipe.
struct Shell {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Shell {
    fn spawn(command: &mut Command) -> Shell {
        // Its own process group: Ctrl-C ends the tests, but the guard must outlive them to clean up.
        let mut child = command.process_group(0).spawn().expect("every Unix has sh");
        let pipe = child.stdin.take();
        Shell { child, pipe }
    }

    fn say_line(&mut self) {
        let pipe = self.pipe.as_mut().expect("the pipe is open until the guard is dropped");
        pipe.write_all(b"\n").expect("the guard reads until its pipe closes");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // After the drop, the port and the directory must be free.
        let _ = self.child.wait();
    }
}
