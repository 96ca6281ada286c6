//! Bars by case: one bar a system with its range, and a mark where the target lies.

use svg::Document;
use svg::node::element::{Line, Rectangle, Text};

use super::format::number;
use crate::statistics::Spread;

/// Widths and heights in pixels.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 200.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 44.0;
const BAR: f64 = 16.0;
const STEP: f64 = 21.0;
const HEADING: f64 = 26.0;
const BOTTOM: f64 = 58.0;
/// A letter of a value is so wide, at most.
const LETTER: f64 = 6.6;
/// Room for the values behind the bars.
const PLOT: f64 = WIDTH - LEFT - RIGHT;

const INK: &str = "#1f2328";
const FAINT: &str = "#d0d7de";
const TARGET: &str = "#cf222e";

/// Bars that belong together.
pub(super) struct Group {
    pub(super) label: String,
    pub(super) bars: Vec<Bar>,
    /// Where the target lies, on the axis of the bars.
    pub(super) target: Option<f64>,
}

/// One system.
pub(super) struct Bar {
    pub(super) label: String,
    /// Its figure, or in words why it has none.
    pub(super) value: Result<Spread, String>,
    pub(super) color: &'static str,
}

/// A picture of all groups on one axis, which has a name and a unit.
pub(super) fn picture(title: &str, axis: &str, groups: &[Group]) -> Document {
    let heights = groups.iter().map(|group| HEADING + STEP * group.bars.len() as f64);
    let bottom = TOP + heights.sum::<f64>() + 8.0;
    let scale = Scale::over(groups);
    let mut document = blank(WIDTH, bottom + BOTTOM).add(heading(title));
    document = scale.ticks().fold(document, |document, tick| {
        let x = scale.x(tick);
        let grid = vertical(x, TOP, bottom, FAINT);
        let label = text(&short(tick), x, bottom + 16.0, 11.0).set("text-anchor", "middle");
        document.add(grid).add(label)
    });
    let axis = text(axis, LEFT + PLOT / 2.0, bottom + 34.0, 12.0).set("text-anchor", "middle");
    document = document.add(axis);
    if groups.iter().any(|group| group.target.is_some()) {
        document = legend(document, bottom + 48.0);
    }
    let mut y = TOP;
    for group in groups {
        document = draw(document, group, y, &scale);
        y += HEADING + STEP * group.bars.len() as f64;
    }
    document
}

/// A white page with a font.
pub(super) fn blank(width: f64, height: f64) -> Document {
    let ground = Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff");
    Document::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("width", width)
        .set("height", height)
        .set("font-family", "Helvetica, Arial, 'DejaVu Sans', sans-serif")
        .add(ground)
}

pub(super) fn heading(title: &str) -> Text {
    text(title, 16.0, 26.0, 15.0).set("font-weight", "bold")
}

pub(super) fn text(words: &str, x: f64, y: f64, size: f64) -> Text {
    Text::new(words).set("x", round(x)).set("y", round(y)).set("font-size", size).set("fill", INK)
}

pub(super) fn vertical(x: f64, from: f64, to: f64, color: &str) -> Line {
    Line::new()
        .set("x1", round(x))
        .set("x2", round(x))
        .set("y1", round(from))
        .set("y2", round(to))
        .set("stroke", color)
}

/// Hundredths of a pixel, so that files stay small.
pub(super) fn round(pixels: f64) -> f64 {
    (pixels * 100.0).round() / 100.0
}

fn draw(document: Document, group: &Group, top: f64, scale: &Scale) -> Document {
    let label = text(&group.label, 16.0, top + HEADING - 9.0, 12.0).set("font-weight", "bold");
    let first = top + HEADING;
    let last = first + STEP * group.bars.len() as f64 - (STEP - BAR);
    let axis = vertical(LEFT, first - 3.0, last + 3.0, INK);
    let mut document = document.add(label).add(axis);
    let target = group.target.map(|target| scale.x(target));
    for (index, bar) in group.bars.iter().enumerate() {
        document = draw_bar(document, bar, first + STEP * index as f64, scale, target);
    }
    match target {
        Some(x) => {
            let mark = vertical(x, first - 3.0, last + 3.0, TARGET);
            document.add(mark.set("stroke-width", 2).set("stroke-dasharray", "5 3"))
        }
        None => document,
    }
}

fn draw_bar(document: Document, bar: &Bar, y: f64, scale: &Scale, target: Option<f64>) -> Document {
    let middle = y + BAR / 2.0;
    let label = text(&bar.label, LEFT - 8.0, middle + 4.0, 12.0).set("text-anchor", "end");
    let Spread { median, min, max } = match &bar.value {
        Ok(spread) => *spread,
        Err(words) => {
            let at = beside(target, LEFT + 6.0, words);
            return document.add(label).add(text(words, at, middle + 4.0, 11.0));
        }
    };
    let body = Rectangle::new()
        .set("x", LEFT)
        .set("y", y)
        .set("width", round(scale.x(median) - LEFT))
        .set("height", BAR)
        .set("fill", bar.color);
    let range = Line::new()
        .set("x1", round(scale.x(min)))
        .set("x2", round(scale.x(max)))
        .set("y1", middle)
        .set("y2", middle)
        .set("stroke", INK);
    let words = number(median);
    let at = beside(target, scale.x(max.max(median)) + 6.0, &words);
    let value = text(&words, at, middle + 4.0, 11.0);
    let ends = [min, max].map(|end| vertical(scale.x(end), middle - 3.0, middle + 3.0, INK));
    let document = document.add(label).add(body);
    let document = if min == max {
        document
    } else {
        document.add(range).add(ends[0].clone()).add(ends[1].clone())
    };
    document.add(value)
}

/// Where words that begin at `x` do not meet the mark of the target.
fn beside(target: Option<f64>, x: f64, words: &str) -> f64 {
    let width = LETTER * words.len() as f64;
    match target {
        Some(mark) if (x - 4.0..x + width + 4.0).contains(&mark) => mark + 6.0,
        _ => x,
    }
}

/// The value of a tick, without zeroes that say nothing.
pub(super) fn short(value: f64) -> String {
    let words = number(value);
    if words.contains('.') {
        words.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        words
    }
}

fn legend(document: Document, y: f64) -> Document {
    let mark = vertical(LEFT, y - 9.0, y + 3.0, TARGET);
    let mark = mark.set("stroke-width", 2).set("stroke-dasharray", "5 3");
    document.add(mark).add(text("target", LEFT + 8.0, y + 1.0, 11.0))
}

/// An axis from zero to a round number.
pub(super) struct Scale {
    step: f64,
    end: f64,
}

impl Scale {
    fn over(groups: &[Group]) -> Self {
        let bars =
            groups.iter().flat_map(|group| &group.bars).flat_map(|bar| &bar.value).map(|v| v.max);
        let targets = groups.iter().filter_map(|group| group.target);
        Self::up_to(bars.chain(targets).fold(0.0, f64::max))
    }

    /// With five to ten steps of a 1, 2 or 5.
    pub(super) fn up_to(greatest: f64) -> Self {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let power = 10_f64.powf((greatest / 10.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0, 20.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| greatest / step <= 8.0).unwrap_or(power * 20.0);
        Self { step, end: (greatest / step).ceil() * step }
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, count) = (self.step, (self.end / self.step).round() as u32);
        (0..=count).map(move |tick| f64::from(tick) * step)
    }

    /// The share of the axis below a value.
    pub(super) fn share(&self, value: f64) -> f64 {
        value / self.end
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + PLOT * self.share(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_and_has_few_steps() {
        for (greatest, step, end) in
            [(96_353.0, 20_000.0, 100_000.0), (0.93, 0.2, 1.0), (7.9, 1.0, 8.0), (0.0, 0.2, 1.0)]
        {
            let scale = Scale::up_to(greatest);
            assert!(
                (scale.step - step).abs() < 1e-9 && (scale.end - end).abs() < 1e-9,
                "{greatest}"
            );
            assert!((5..=9).contains(&scale.ticks().count()), "{greatest}");
        }
    }

    #[test]
    fn every_system_and_its_value_is_written() {
        let spread = Spread { median: 1500.0, min: 1000.0, max: 2000.0 };
        let bar = |label: &str| Bar { label: label.into(), value: Ok(spread), color: "#000000" };
        let endless = Bar { value: Err("no end in 40 s".into()), ..bar("endless") };
        let group = Group {
            label: "reads".into(),
            bars: vec![bar("ours"), bar("<theirs>"), endless],
            target: Some(1800.0),
        };
        let text = picture("Rate", "IOPS", &[group]).to_string();
        for word in ["reads", "ours", "&lt;theirs&gt;", "1,500", "no end in 40 s", "IOPS", "target"]
        {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
}
