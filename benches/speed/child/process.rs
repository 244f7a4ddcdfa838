//! Reads the CPU time and memory of this process from the kernel.

use std::fs;

/// The clock ticks per second in which Linux reports CPU time: 100 on every machine.
const TICKS_A_SECOND: f64 = 100.0;

/// The user and system time of all threads so far.
pub(super) fn cpu_seconds() -> f64 {
    let stat = read("/proc/self/stat");
    // The second field, the name in parentheses, may contain any characters. The fields after it do not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [14, 15].map(|field| fields[field - 3].parse::<f64>().unwrap()).iter().sum();
    ticks / TICKS_A_SECOND
}

/// The peak of the resident memory, in bytes.
pub(super) fn peak_mib() -> f64 {
    status_mib("VmHWM:")
}

/// The resident memory, in bytes.
pub(super) fn resident_mib() -> f64 {
    status_mib("VmRSS:")
}

fn status_mib(name: &str) -> f64 {
    let status = read("/proc/self/status");
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}, which Linux alone has: {error}"))
}
