//! A picture of a trace: the turns of a loop in one row, and below each what it called.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use try_it::Result;

/// A turn, or a call in it. Times are in microseconds.
pub(crate) struct Span {
    /// That of the code that was called; none of a turn.
    pub(crate) kind: String,
    location: String,
    begin: f64,
    end: f64,
}

impl Span {
    fn is_turn(&self) -> bool {
        self.kind.is_empty()
    }
}

/// The spans of the loop in a file of `tracing-chrome`, by their ends.
pub(crate) fn read(path: &Path) -> Result<Vec<Span>> {
    let events: Vec<Value> = serde_json::from_str(&fs::read_to_string(path)?)?;
    let (mut open, mut spans) = (Vec::new(), Vec::new());
    for event in events.iter().filter(|event| event["cat"] == "ioloop") {
        match event["ph"].as_str() {
            Some("B") => open.push(event),
            Some("E") => spans.extend(open.pop().and_then(|begin| span(begin, event))),
            _ => {}
        }
    }
    Ok(spans)
}

fn span(begin: &Value, end: &Value) -> Option<Span> {
    let argument = |name| begin["args"][name].as_str().unwrap_or_default().trim_matches('"');
    let location = argument("location").rsplit('/').next()?;
    // Without the column.
    let location = location.rsplit_once(':').map_or(location, |(line, _)| line);
    Some(Span {
        kind: argument("kind").to_owned(),
        location: location.to_owned(),
        begin: begin["ts"].as_f64()?,
        end: end["ts"].as_f64()?,
    })
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 70.0;

/// How each kind is coloured.
const KINDS: [(&str, &str); 5] = [
    ("a reader", "#3d7ec7"),
    ("a timer", "#d98324"),
    ("a task", "#4d9a5b"),
    ("the future that the loop runs for", "#8b6bb1"),
    ("", "#dfe3e8"),
];

/// Draws it.
pub(crate) fn draw(spans: &[Span]) -> Result<String> {
    let begin = spans.iter().map(|span| span.begin).fold(f64::INFINITY, f64::min);
    let end = spans.iter().map(|span| span.end).fold(0.0, f64::max);
    let scale = (WIDTH - LEFT - 25.0) / (end - begin);
    let at = |time: f64| LEFT + (time - begin) * scale;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 170\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (name, y) in [("turns", 51), ("calls", 87)] {
        writeln!(svg, "<text x=\"10\" y=\"{y}\">{name}</text>")?;
    }
    for span in spans {
        let Some((_, fill)) = KINDS.iter().find(|(kind, _)| *kind == span.kind) else { continue };
        let (x, width) = (at(span.begin), ((span.end - span.begin) * scale).max(0.7));
        let y = if span.is_turn() { 34 } else { 70 };
        let micros = span.end - span.begin;
        let what = match &span.kind {
            kind if kind.is_empty() => "a turn".to_owned(),
            kind => format!("{kind} from {}", span.location),
        };
        writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"26\" fill=\"{fill}\">\
             <title>{what}, {micros:.0} µs</title></rect>"
        )?;
        if width > 60.0 && !span.is_turn() {
            let x = x + 4.0;
            writeln!(svg, "<text x=\"{x:.1}\" y=\"87\" fill=\"#ffffff\">{}</text>", span.location)?;
        }
    }
    for millis in 0..=((end - begin) / 1000.0) as u32 {
        let x = at(begin + f64::from(millis) * 1000.0);
        writeln!(svg, "<path d=\"M{x:.1} 104v6\" stroke=\"#555555\"/>")?;
        writeln!(svg, "<text x=\"{x:.1}\" y=\"124\" text-anchor=\"middle\">{millis} ms</text>")?;
    }
    let mut x = LEFT;
    for (kind, fill) in KINDS.iter().take(4) {
        writeln!(svg, "<rect x=\"{x}\" y=\"142\" width=\"12\" height=\"12\" fill=\"{fill}\"/>")?;
        writeln!(svg, "<text x=\"{}\" y=\"152\">{kind}</text>", x + 17.0)?;
        x += 45.0 + 7.0 * kind.len() as f64;
    }
    svg.push_str(
        "<text x=\"10\" y=\"20\">a loop: its turns, and the calls in them</text>\n</svg>\n",
    );
    Ok(svg)
}
