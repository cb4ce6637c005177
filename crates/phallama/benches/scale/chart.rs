//! Line charts as SVG, readable on light and on dark pages: text and lines take their colours from
//! the reader's scheme, and every line has a pattern of its own beside its colour.

use std::fmt::Write as _;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 58.0;
/// Width of a letter in the legend, about.
const LETTER: f64 = 6.6;
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}\
.title{font-size:16px;font-weight:600}.small{font-size:12px;fill:#59636e}\
.back{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}.mark{stroke:#59636e;stroke-dasharray:2 4}\
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}\
.l0{stroke:#0067b8}.l1{stroke:#c2410c;stroke-dasharray:9 4}.l2{stroke:#047857;stroke-dasharray:3 3}\
.l3{stroke:#9d2f7a;stroke-dasharray:12 3 3 3}.l4{stroke:#6b5900;stroke-dasharray:1 3}\
.a0{fill:#0067b8}.a1{fill:#e07b39}.a2{fill:#2a9d74}.a3{fill:#b25794}.a4{fill:#a99334}\
.area{fill-opacity:.8}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.back{fill:#0d1117}\
.grid{stroke:#30363d}.mark{stroke:#9198a1}.l0{stroke:#58a6ff}.l1{stroke:#ff9b63}.l2{stroke:#3fd6a0}\
.l3{stroke:#e88bc4}.l4{stroke:#d8c25a}.a0{fill:#58a6ff}.a1{fill:#ff9b63}.a2{fill:#3fd6a0}\
.a3{fill:#e88bc4}.a4{fill:#d8c25a}}";

/// One axis.
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) logarithmic: bool,
    /// Where the grid lies, and what it says there.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let (value, from, to) = if self.logarithmic {
            let value = value.max(self.from);
            (value.log10(), self.from.log10(), self.to.log10())
        } else {
            (value, self.from, self.to)
        };
        ((value - from) / (to - from)).clamp(0.0, 1.0)
    }
}

/// One line, or one layer when the chart is stacked.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A line through the whole chart at one value.
pub(crate) enum Mark {
    Across(f64, String),
    Down(f64, String),
}

/// A chart.
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// Series are layers on top of each other, all with the same x values.
    pub(crate) stacked: bool,
    pub(crate) series: Vec<Series>,
    pub(crate) marks: Vec<Mark>,
}

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{0}\">\n<style>{STYLE}</style>\n<rect class=\"back\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n<text class=\"title\" x=\"{LEFT}\" \
             y=\"30\">{0}</text>\n",
            self.title
        );
        self.grid(&mut out);
        if self.stacked {
            self.layers(&mut out);
        } else {
            self.lines(&mut out);
        }
        self.legend(&mut out);
        self.draw_marks(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, out: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, text) in &self.x.ticks {
            let x = self.x(*value);
            line(out, "grid", (x, TOP), (x, bottom));
            label(out, "small", (x, bottom + 18.0), "middle", text);
        }
        for (value, text) in &self.y.ticks {
            let y = self.y(*value);
            line(out, "grid", (LEFT, y), (right, y));
            label(out, "small", (LEFT - 8.0, y + 4.0), "end", text);
        }
        label(out, "", (LEFT.midpoint(right), HEIGHT - 12.0), "middle", self.x.label);
        let middle = TOP.midpoint(bottom);
        let _ = writeln!(
            out,
            "<text transform=\"translate(18 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}\
             </text>",
            self.y.label
        );
    }

    fn lines(&self, out: &mut String) {
        for (index, series) in self.series.iter().enumerate() {
            let points = series.points.iter().map(|(x, y)| (self.x(*x), self.y(*y)));
            let _ = writeln!(out, "<path class=\"line l{index}\" d=\"{}\"/>", path(points));
        }
    }

    fn layers(&self, out: &mut String) {
        let count = self.series.first().map_or(0, |series| series.points.len());
        let mut below = vec![0.0; count];
        for (index, series) in self.series.iter().enumerate() {
            let at = |place: usize, y: f64| (self.x(series.points[place].0), self.y(y));
            let above: Vec<f64> =
                series.points.iter().zip(&below).map(|((_, y), below)| y + below).collect();
            let upper = (0..count).map(|place| at(place, above[place]));
            let lower = (0..count).rev().map(|place| at(place, below[place]));
            let outline = path(upper.chain(lower));
            let _ = writeln!(out, "<path class=\"area a{index}\" d=\"{outline}Z\"/>");
            below = above;
        }
    }

    fn legend(&self, out: &mut String) {
        let mut x = LEFT;
        let mut y = 54.0;
        for (index, series) in self.series.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a short name")]
            let width = 44.0 + series.name.chars().count() as f64 * LETTER;
            if x + width > WIDTH - RIGHT + 10.0 {
                (x, y) = (LEFT, y + 18.0);
            }
            if self.stacked {
                let _ = writeln!(
                    out,
                    "<rect class=\"area a{index}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"14\" \
                     height=\"12\"/>",
                    y - 10.0
                );
            } else {
                line(out, &format!("line l{index}"), (x, y - 4.0), (x + 26.0, y - 4.0));
            }
            let offset = if self.stacked { 20.0 } else { 32.0 };
            label(out, "", (x + offset, y), "start", &series.name);
            x += width;
        }
    }

    fn draw_marks(&self, out: &mut String) {
        for mark in &self.marks {
            match mark {
                Mark::Across(value, text) => {
                    let y = self.y(*value);
                    line(out, "mark", (LEFT, y), (WIDTH - RIGHT, y));
                    label(out, "small", (LEFT + 8.0, y - 6.0), "start", text);
                }
                Mark::Down(value, text) => {
                    let x = self.x(*value);
                    line(out, "mark", (x, TOP), (x, HEIGHT - BOTTOM));
                    label(out, "small", (x - 6.0, TOP + 14.0), "end", text);
                }
            }
        }
    }
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn label(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.enumerate().fold(String::new(), |mut path, (index, (x, y))| {
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
        path
    })
}
