//! Points to plots: SVG that stands by itself.

use std::fmt::Write;

/// A point of a plot.
pub(super) struct Dot {
    pub(super) x: f64,
    pub(super) y: f64,
    /// What it is, to be seen when pointed at.
    pub(super) title: String,
    pub(super) look: Look,
}

/// How a point looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    /// It is on the front.
    Front,
    /// It is what one has without asking.
    Marked,
}

/// A plot of points.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// What is shown along the axes.
    pub(super) axes: [&'a str; 2],
    pub(super) dots: Vec<Dot>,
    /// A line where both are equal.
    pub(super) diagonal: bool,
}

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;

/// What an axis shows: from a number to another, by their logarithms.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for it in values.filter(|it| it.is_finite() && *it > 0.0) {
            (low, high) = (low.min(it), high.max(it));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        Axis { low: low / 1.15, high: high * 1.15, from, to }
    }

    fn place(self, value: f64) -> f64 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }

    /// 1, 2 and 5 times the powers of ten, or three numbers in between if these are too few.
    fn ticks(self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut power = 10_f64.powf(self.low.log10().floor());
        while power <= self.high {
            ticks.extend(
                [1.0, 2.0, 5.0]
                    .map(|it| it * power)
                    .into_iter()
                    .filter(|it| (self.low..=self.high).contains(it)),
            );
            power *= 10.0;
        }
        if ticks.len() < 2 {
            let ratio = self.high / self.low;
            ticks = [0.1, 0.5, 0.9].map(|it| self.low * ratio.powf(it)).to_vec();
        }
        ticks
    }
}

/// The plot as an element of a page.
pub(super) fn svg(plot: &Plot<'_>) -> String {
    let x = Axis::of(plot.dots.iter().map(|it| it.x), LEFT, WIDTH - RIGHT);
    let y = Axis::of(plot.dots.iter().map(|it| it.y), HEIGHT - BOTTOM, TOP);
    let mut out =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", plot.title);
    put(&mut out, format_args!("<text class=\"title\" x=\"{LEFT}\" y=\"18\">{}</text>", plot.title));
    scales(&mut out, plot, x, y);
    if plot.diagonal {
        let (low, high) = (x.low.max(y.low), x.high.min(y.high));
        let [a, b] = [low, high].map(|it| (x.place(it), y.place(it)));
        put(
            &mut out,
            format_args!("<path class=\"same\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>", a.0, a.1, b.0, b.1),
        );
    }
    // What matters lies on top.
    for look in [Look::Plain, Look::Front, Look::Marked] {
        for dot in plot.dots.iter().filter(|it| it.look == look) {
            let (class, radius) = match look {
                Look::Plain => ("plain", 3),
                Look::Front => ("front", 4),
                Look::Marked => ("marked", 6),
            };
            put(
                &mut out,
                format_args!(
                    "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}</title></circle>",
                    x.place(dot.x),
                    y.place(dot.y),
                    escaped(&dot.title)
                ),
            );
        }
    }
    out + "</svg>\n"
}

/// The lines of the axes, their numbers and what they show.
fn scales(out: &mut String, plot: &Plot<'_>, x: Axis, y: Axis) {
    for tick in x.ticks() {
        let at = x.place(tick);
        put(out, format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{}\"/>", HEIGHT - BOTTOM));
        let text = number(tick);
        put(
            out,
            format_args!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", HEIGHT - 28.0),
        );
    }
    for tick in y.ticks() {
        let at = y.place(tick);
        put(out, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT));
        let text = number(tick);
        put(
            out,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                at + 4.0
            ),
        );
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    put(
        out,
        format_args!(
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            plot.axes[0]
        ),
    );
    let up = (TOP + HEIGHT - BOTTOM) / 2.0;
    put(
        out,
        format_args!(
            "<text transform=\"translate(14 {up}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            plot.axes[1]
        ),
    );
}

/// Three digits of a number, with a letter for its thousands.
pub(super) fn number(value: f64) -> String {
    let units =
        [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")];
    let (unit, letter) = units.into_iter().find(|it| value.abs() >= 0.9995 * it.0).unwrap_or((1.0, ""));
    let scaled = value / unit;
    let digits = if scaled.abs() >= 99.95 {
        0
    } else if scaled.abs() >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{letter}")
}

/// Text as it may stand in a page.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("text can grow");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [1234.0, 0.001_234, 5e9, 99.96, 0.0, 1.0, 1e-6].map(number);
        assert_eq!(texts, ["1.23k", "1.23m", "5G", "100", "0", "1", "1µ"]);
    }

    #[test]
    fn a_plot_has_all_its_dots() {
        let dot = |x, look| Dot { x, y: 2.0 * x, title: "a < b".to_owned(), look };
        let dots = vec![dot(1.0, Look::Plain), dot(10.0, Look::Front), dot(1.0, Look::Marked)];
        let text = svg(&Plot { title: "t", axes: ["x", "y"], dots, diagonal: true });
        assert_eq!(text.matches("<circle").count(), 3);
        assert!(text.contains("a &lt; b") && !text.contains("NaN"), "{text}");
        let none = svg(&Plot { title: "t", axes: ["x", "y"], dots: Vec::new(), diagonal: false });
        assert!(!none.contains("NaN"), "{none}");
    }
}
