//! Simple charts: lines over an axis, and bars.

use std::fmt::{Display, Formatter, Result};

use crate::row::plain;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 180.0;
/// The margins of a panel, for its title and the names of the axes.
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const BELOW: f64 = 50.0;
const BAR: f64 = 26.0;
const LABELS: f64 = 370.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.grid{stroke:#ddd}.limit{stroke:#c33}\
                     .line{fill:none;stroke:#26c;stroke-width:2}.mark{fill:#26c}.end{text-anchor:end}\
                     .middle{text-anchor:middle}";

/// The scale of an axis.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Even,
    Logarithmic,
}

/// Panels side by side with the same axis.
pub(super) struct Chart<'a> {
    pub(super) label: &'a str,
    pub(super) scale: Scale,
    pub(super) panels: [Panel<'a>; 2],
}

/// A line chart whose scale begins at zero.
pub(super) struct Panel<'a> {
    pub(super) title: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Bars with an upper limit.
pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) limit: f64,
    pub(super) bars: Vec<(String, f64)>,
}

impl Display for Chart<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        begin(f, (LEFT + WIDTH + 20.0) * self.panels.len() as f64, TOP + HEIGHT + BELOW)?;
        for (place, panel) in self.panels.iter().enumerate() {
            self.panel(f, panel, LEFT + (LEFT + WIDTH + 20.0) * place as f64)?;
        }
        writeln!(f, "</svg>")
    }
}

impl Chart<'_> {
    fn panel(&self, f: &mut Formatter<'_>, panel: &Panel<'_>, left: f64) -> Result {
        let bottom = TOP + HEIGHT;
        text(f, "title", left, TOP - 18.0, panel.title)?;
        text(f, "middle", left + WIDTH / 2.0, bottom + 40.0, self.label)?;
        let step = step(panel.points.iter().map(|(_, y)| *y).fold(0.0, f64::max));
        let y = |value: f64| bottom - value / (4.0 * step) * HEIGHT;
        for tick in 0..=4 {
            let value = step * f64::from(tick);
            line(f, "grid", (left, y(value)), (left + WIDTH, y(value)))?;
            text(f, "end", left - 6.0, y(value) + 4.0, &plain(value))?;
        }
        let x = |value: f64| left + self.share(panel, value) * WIDTH;
        // Limits the number of labels, so that they do not overlap.
        let every = panel.points.len().div_ceil(7);
        for (at, _) in panel.points.iter().step_by(every) {
            text(f, "middle", x(*at), bottom + 18.0, &short(*at))?;
        }
        let places: Vec<String> =
            panel.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        writeln!(f, r#"<polyline class="line" points="{}"/>"#, places.join(" "))?;
        panel.points.iter().try_for_each(|(at, value)| {
            writeln!(f, r#"<circle class="mark" cx="{:.1}" cy="{:.1}" r="3"/>"#, x(*at), y(*value))
        })
    }

    /// The position of a value on the axis, from 0 to 1.
    fn share(&self, panel: &Panel<'_>, value: f64) -> f64 {
        let scaled = |value: f64| if self.scale == Scale::Logarithmic { value.ln() } else { value };
        let (Some((first, _)), Some((last, _))) = (panel.points.first(), panel.points.last()) else { return 0.0 };
        let (first, last) = (scaled(*first), scaled(*last));
        if first < last { (scaled(value) - first) / (last - first) } else { 0.0 }
    }
}

impl Display for Bars<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let most = self.bars.iter().map(|(_, value)| *value).fold(self.limit, f64::max) * 1.15;
        let x = |value: f64| LABELS + value / most * WIDTH;
        let bottom = TOP + BAR * self.bars.len() as f64;
        begin(f, LABELS + WIDTH + 50.0, bottom + BELOW)?;
        text(f, "title", LABELS, TOP - 18.0, self.title)?;
        for (place, (name, value)) in self.bars.iter().enumerate() {
            let top = TOP + BAR * place as f64;
            text(f, "end", LABELS - 6.0, top + 16.0, name)?;
            let width = x(*value) - LABELS;
            writeln!(f, r#"<rect class="mark" x="{LABELS}" y="{}" width="{width:.1}" height="16"/>"#, top + 4.0)?;
            text(f, "", x(*value) + 6.0, top + 16.0, &plain(*value))?;
        }
        line(f, "limit", (x(self.limit), TOP), (x(self.limit), bottom + 8.0))?;
        text(f, "middle", x(self.limit), bottom + 24.0, &format!("limit: {}", plain(self.limit)))?;
        writeln!(f, "</svg>")
    }
}

fn begin(f: &mut Formatter<'_>, width: f64, height: f64) -> Result {
    writeln!(
        f,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">"#
    )?;
    writeln!(f, r#"<style>{STYLE}</style>"#)?;
    writeln!(f, r#"<rect width="{width}" height="{height}" fill="white"/>"#)
}

fn text(f: &mut Formatter<'_>, class: &str, x: f64, y: f64, text: &str) -> Result {
    writeln!(f, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#)
}

fn line(f: &mut Formatter<'_>, class: &str, from: (f64, f64), to: (f64, f64)) -> Result {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(f, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#)
}

/// A round number whose fourfold is at least `most`.
fn step(most: f64) -> f64 {
    let raw = (most / 4.0).max(f64::MIN_POSITIVE);
    let decade = 10.0_f64.powf(raw.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|round| round * decade)
        .into_iter()
        .find(|step| *step >= raw)
        .unwrap_or(10.0 * decade)
}

/// Formats 1,500,000 as 1.5 M.
fn short(number: f64) -> String {
    match number {
        number if number >= 1e6 => format!("{} M", plain(number / 1e6)),
        number if number >= 1e4 => format!("{} k", plain(number / 1e3)),
        number => plain(number),
    }
}
