//! What a client had during a migration: a panel for each system over one axis of time.

use svg::Document;
use svg::node::element::{Polyline, Rectangle};

use super::bars::{Scale, blank, heading, round, short, text, vertical};
use crate::requests::STEP;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const PANEL: f64 = 110.0;
const GAP: f64 = 38.0;
const BOTTOM: f64 = 44.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;

const GRID: &str = "#d0d7de";
const SHADE: &str = "#ddf4ff";
const CUTOVER: &str = "#cf222e";

/// One system's client.
pub(super) struct Panel {
    pub(super) label: String,
    pub(super) color: &'static str,
    /// Requests a second, in steps of [`STEP`]; the first begins `before` seconds before the
    /// migration.
    pub(super) series: Vec<f64>,
    pub(super) before: f64,
    /// How long the migration took, in seconds; `None` when it did not end.
    pub(super) took: Option<f64>,
    /// When the cutover began, in seconds.
    pub(super) cutover: Option<f64>,
}

impl Panel {
    fn end(&self) -> f64 {
        self.series.len() as f64 * STEP - self.before
    }
}

/// A picture of all panels. One that never ended is cut off where the others have.
pub(super) fn picture(title: &str, panels: &[Panel]) -> Document {
    let height = TOP + (PANEL + GAP) * panels.len() as f64 + BOTTOM;
    let start = panels.iter().map(|panel| -panel.before).fold(0.0, f64::min);
    let ended = panels.iter().filter(|panel| panel.took.is_some()).map(Panel::end);
    let all = panels.iter().map(Panel::end).fold(1.0, f64::max);
    let end = ended.fold(5.0, f64::max).min(all);
    let highest = panels.iter().flat_map(|panel| &panel.series).copied().fold(1.0, f64::max);
    let frame = Frame { start, end, rates: Scale::up_to(highest) };
    let mut document = blank(WIDTH, height).add(heading(title));
    for (index, panel) in panels.iter().enumerate() {
        document = draw(document, panel, &frame, TOP + (PANEL + GAP) * index as f64);
    }
    let bottom = height - BOTTOM + 4.0;
    let label = "seconds since the migration began; shaded: the migration; red: the cutover begins";
    document.add(text(label, LEFT + PLOT / 2.0, bottom + 24.0, 12.0).set("text-anchor", "middle"))
}

struct Frame {
    start: f64,
    end: f64,
    rates: Scale,
}

impl Frame {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + PLOT * (seconds.clamp(self.start, self.end) - self.start) / (self.end - self.start)
    }

    fn y(&self, top: f64, rate: f64) -> f64 {
        top + PANEL * (1.0 - self.rates.share(rate))
    }
}

fn draw(document: Document, panel: &Panel, frame: &Frame, top: f64) -> Document {
    let top = top + 22.0;
    let bottom = top + PANEL;
    let label = text(&panel.label, LEFT, top - 8.0, 12.0).set("font-weight", "bold");
    let until = panel.took.unwrap_or(f64::INFINITY);
    let shade = Rectangle::new()
        .set("x", round(frame.x(0.0)))
        .set("y", top)
        .set("width", round(frame.x(until) - frame.x(0.0)))
        .set("height", PANEL)
        .set("fill", SHADE);
    let mut document = document.add(label).add(shade);
    document = axes(document, frame, top, bottom);
    let points = panel.series.iter().enumerate().map(|(index, rate)| {
        let seconds = (index as f64 + 0.5) * STEP - panel.before;
        (seconds, frame.y(top, *rate))
    });
    let points = points.filter(|(seconds, _)| *seconds <= frame.end);
    let points: Vec<String> =
        points.map(|(seconds, y)| format!("{},{}", round(frame.x(seconds)), round(y))).collect();
    let curve = Polyline::new()
        .set("points", points.join(" "))
        .set("fill", "none")
        .set("stroke", panel.color)
        .set("stroke-width", 1.5);
    document = document.add(curve);
    match panel.cutover {
        Some(cutover) if cutover <= frame.end => {
            let mark = vertical(frame.x(cutover), top, bottom, CUTOVER);
            document.add(mark.set("stroke-width", 1.5).set("stroke-dasharray", "4 3"))
        }
        _ => document,
    }
}

fn axes(document: Document, frame: &Frame, top: f64, bottom: f64) -> Document {
    let mut document = document;
    // Every other tick: a panel is low.
    for rate in frame.rates.ticks().step_by(2) {
        let y = frame.y(top, rate);
        let line = svg::node::element::Line::new()
            .set("x1", LEFT)
            .set("x2", LEFT + PLOT)
            .set("y1", round(y))
            .set("y2", round(y))
            .set("stroke", GRID);
        let label = text(&short(rate), LEFT - 6.0, y + 4.0, 11.0).set("text-anchor", "end");
        document = document.add(line).add(label);
    }
    let middle = top + PANEL / 2.0;
    let unit = text("client IOPS", 18.0, middle, 11.0)
        .set("text-anchor", "middle")
        .set("transform", format!("rotate(-90 18 {middle})"));
    document = document.add(unit);
    for second in seconds(frame) {
        let x = frame.x(second);
        let label = text(&format!("{second}"), x, bottom + 14.0, 11.0).set("text-anchor", "middle");
        document = document.add(vertical(x, bottom, bottom + 3.0, GRID)).add(label);
    }
    document
}

/// Whole seconds, at most some twenty.
fn seconds(frame: &Frame) -> impl Iterator<Item = f64> {
    let every = ((frame.end - frame.start) / 20.0).ceil().max(1.0);
    let (first, last) = ((frame.start / every).ceil() as i32, (frame.end / every).floor() as i32);
    (first..=last).map(move |tick| f64::from(tick) * every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(label: &str, seconds: usize, took: Option<f64>) -> Panel {
        Panel {
            label: label.into(),
            color: "#000000",
            series: vec![1000.0; seconds * 10],
            before: 3.0,
            took,
            cutover: took,
        }
    }

    #[test]
    fn a_migration_that_never_ended_is_cut_off_where_the_others_ended() {
        let panels = [panel("ours", 10, Some(5.5)), panel("theirs", 60, None)];
        let text = picture("Client", &panels).to_string();
        let right = format!("{}", LEFT + PLOT);
        let longest = text.split("points=\"").nth(2).unwrap().split('"').next().unwrap();
        assert_eq!(longest.split(' ').count(), 100, "{longest}");
        assert!(text.contains(&right) && text.contains("theirs"));
    }
}
