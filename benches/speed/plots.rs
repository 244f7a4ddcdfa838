//! Draws the last results as SVG files into `docs/src/performance`.

mod svg;

use std::fs;

use self::svg::{Bars, Chart, Panel, Scale};
use crate::report::{Point, Report, Series};
use crate::row::median;
use crate::support::root;

/// The title and scale of each axis.
const AXES: [(&str, &str, Scale); 4] = [
    ("events", "events of one log", Scale::Even),
    ("partitions", "partitions", Scale::Logarithmic),
    ("table_rows", "rows of the table", Scale::Logarithmic),
    ("projections", "projections on one topic", Scale::Even),
];

pub(crate) fn draw() {
    match Report::last("growth") {
        Some(growth) => growth.series.iter().for_each(draw_growth),
        None => println!("nothing of the group growth was measured yet"),
    }
    match Report::last("memory") {
        Some(memory) => draw_memory(&memory),
        None => println!("nothing of the group memory was measured yet"),
    }
}

/// Panels for throughput and memory.
fn draw_growth(series: &Series) {
    let (_, label, scale) = AXES.iter().find(|(axis, ..)| *axis == series.axis).expect("every axis has a name");
    let panel = |title, of: fn(&Point) -> f64| Panel {
        title,
        points: series.points.iter().map(|point| (point.at, of(point))).collect(),
    };
    let panels =
        [panel("events/s", |point| point.events_per_s), panel("most memory resident, MiB", |point| point.peak_mib)];
    write(
        &format!("growth-{}.svg", series.axis.replace('_', "-")),
        &Chart { label, scale: *scale, panels }.to_string(),
    );
}

fn draw_memory(memory: &Report) {
    let measured = memory.rows.iter().filter(|row| !row.figures.is_empty());
    let bars = measured.map(|row| (row.case.clone(), median(&row.figures))).collect();
    write("memory.svg", &Bars { title: "most memory resident, MiB", limit: crate::memory::MIB, bars }.to_string());
}

fn write(name: &str, svg: &str) {
    let folder = root().join("docs/src/performance");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), svg).unwrap();
    println!("written to {}", folder.join(name).display());
}
