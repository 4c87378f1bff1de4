//! Draws the picture of the README: a few rows of PERFORMANCE.md beside each other.

use std::fmt::Write;

/// What is shown of a table: its name, and what the README calls one operation.
const TABLES: [(&str, &str); 4] = [
    ("ring-100", "a byte through a pipe, its reader called"),
    ("timers-fired", "a timer set and fired"),
    ("post", "a callback from another thread"),
    ("chain", "a callback that queues the next"),
];

/// A contender's name in the tables, and here.
const CONTENDERS: [(&str, &str); 6] = [
    ("own async-io", "ioloop"),
    ("attached tokio current-thread", "ioloop in tokio"),
    ("tokio current-thread", "tokio"),
    ("libuv", "libuv"),
    ("uvloop", "uvloop"),
    ("asyncio", "asyncio"),
];

const WIDTH: f64 = 480.0;
const LEFT: f64 = 126.0;
/// The ratio at which a bar ends.
const MOST: f64 = 6.0;

/// The picture, as SVG: processor time as a ratio to the same work by hand.
pub(crate) fn picture(page: &str) -> String {
    let scale = (WIDTH - LEFT - 60.0) / MOST;
    let (mut bars, mut y) = (String::new(), 16.0);
    for (name, operation) in TABLES {
        y += 16.0;
        let _ = writeln!(bars, r##"<text x="10" y="{y}" font-weight="bold">{operation}</text>"##);
        y += 8.0;
        let top = y;
        for (contender, label) in CONTENDERS {
            let Some(ratio) = ratio(page, name, contender) else { continue };
            let (length, middle) = (ratio.min(MOST) * scale, y + 13.0);
            let colour = if label.starts_with("ioloop") { "#1f77b4" } else { "#9ca3af" };
            // Not across the line.
            let (end, label_end) = (LEFT + length.max(scale) + 6.0, LEFT - 8.0);
            let _ = writeln!(
                bars,
                r##"<text x="{label_end}" y="{middle}" text-anchor="end">{label}</text><rect x="{LEFT}" y="{y}" width="{length:.1}" height="17" fill="{colour}"/><text x="{end:.1}" y="{middle}">{ratio:.1}</text>"##
            );
            y += 21.0;
        }
        let x = LEFT + scale;
        let _ = writeln!(bars, r##"<path d="M{x:.1} {top} V{y}" stroke="#111827"/>"##);
        y += 8.0;
    }
    let (height, foot) = (y + 26.0, y + 12.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" font-family="sans-serif" font-size="14" fill="#111827">
<title>Processor time beside peers, as a ratio to the same work by hand</title>
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
{bars}<text x="10" y="{foot}" fill="#374151">Processor time; the line is the same work by hand.</text>
</svg>
"##
    )
}

/// The ratio of processor times that a table of the page has for a contender.
fn ratio(page: &str, table: &str, contender: &str) -> Option<f64> {
    let (_, rest) = page.split_once(&format!("<!-- {table} -->"))?;
    let (table, _) = rest.split_once("<!-- end of")?;
    let row = table.lines().find_map(|line| line.strip_prefix(&format!("| {contender} | ")))?;
    row.split(" | ").nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_what_the_page_has() {
        let page = include_str!("../../PERFORMANCE.md");
        let drawn = picture(page);
        for (table, operation) in TABLES {
            assert!(drawn.contains(operation));
            assert!(ratio(page, table, "own async-io").is_some(), "{table}");
            assert!(ratio(page, table, "asyncio").is_some(), "{table}");
        }
        assert_eq!(drawn, include_str!("../../docs/pictures/speed.svg"), "`report` draws it anew");
    }
}
