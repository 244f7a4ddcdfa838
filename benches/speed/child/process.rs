//! What the kernel says of this process.

use std::fs;

/// Ticks of the clock in which Linux counts processor time for everybody to see: 100 a second on every machine.
const TICKS_A_SECOND: f64 = 100.0;

/// User and system time so far, of all threads.
pub(super) fn cpu_seconds() -> f64 {
    let stat = read("/proc/self/stat");
    // The second field, the name, is in parentheses and may hold anything: what follows is plain, from the third on.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [14, 15].map(|field| fields[field - 3].parse::<f64>().unwrap()).iter().sum();
    ticks / TICKS_A_SECOND
}

/// The most memory that was ever resident.
pub(super) fn peak_mib() -> f64 {
    status_mib("VmHWM:")
}

/// The memory that is resident now.
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
