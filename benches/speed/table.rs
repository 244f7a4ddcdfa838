//! Prints the last results as a table in Markdown.

use crate::GROUPS;
use crate::machine::Machine;
use crate::report::Report;

pub(crate) fn print() {
    let reports: Vec<Report> = GROUPS.iter().filter_map(|group| Report::last(group)).collect();
    println!("| case | figure | beside | ratio | target | |\n|---|---|---|---|---|---|");
    for row in reports.iter().flat_map(|report| &report.rows) {
        let target = row.target.map_or(String::new(), |target| target.show());
        let (baseline, ratio) = (row.baseline().unwrap_or_default(), row.ratio().unwrap_or_default());
        println!("| {} | {} | {baseline} | {ratio} | {target} | {} |", row.case, row.figure(), row.verdict());
    }
    println!();
    // Each group may have been measured on another machine.
    for (place, report) in reports.iter().enumerate() {
        let same = |other: &&Report| other.machine == report.machine;
        if !reports[..place].iter().any(|other| same(&other)) {
            let groups: Vec<&str> = reports.iter().filter(same).map(|report| report.group.as_str()).collect();
            println!("{}: {}", groups.join(", "), sentence(&report.machine));
        }
    }
}

fn sentence(machine: &Machine) -> String {
    let Machine { cores, cpu, memory_gib, os, postgres, kafka, date, commit } = machine;
    format!(
        "{date}, commit {commit}; {cores} cores ({cpu}), {memory_gib} GiB of memory, {os}; PostgreSQL {postgres}; Kafka {kafka}."
    )
}
