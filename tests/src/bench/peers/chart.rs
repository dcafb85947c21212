//! How cost grows, as a picture: sizes along a logarithmic axis, cost relative to the smallest size, and the logarithm that
//! it should stay below.

use std::fmt::Write;

/// One figure at several sizes.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) label: String,
    /// Size and figure, from the smallest size on.
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 290.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 40.0;
/// The most that the smaller axis holds.
const LEAST_TOP: f64 = 4.5;
const COLOURS: [&str; 7] = [
    "#0b6e99", "#c05621", "#2f855a", "#805ad5", "#b83280", "#4a5568", "#975a16",
];

/// The picture as SVG.
pub(super) fn draw(lines: &[Line]) -> String {
    let relative: Vec<(&str, Vec<(f64, f64)>)> = lines.iter().map(relative).collect();
    let all = || relative.iter().flat_map(|(_, points)| points);
    let decades = all().map(|(size, _)| *size).fold(1.0, f64::max).ceil();
    let top = all().map(|(_, cost)| *cost * 1.1).fold(LEAST_TOP, f64::max);
    let x = |size: f64| LEFT + size / decades * (WIDTH - LEFT - RIGHT);
    let y = |cost: f64| HEIGHT - BOTTOM - cost / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    for cost in 0..=(top as u32) {
        let (at, left, right) = (y(f64::from(cost)), x(0.0), x(decades));
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.0} {at:.0}H{right:.0}\" stroke=\"#e2e8f0\"/><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{cost}×</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for decade in 0..=(decades as u32) {
        let (at, below) = (x(f64::from(decade)), HEIGHT - BOTTOM + 18.0);
        let times = 10_u64.pow(decade);
        let _ = writeln!(
            svg,
            "<text x=\"{at:.0}\" y=\"{below:.0}\" text-anchor=\"middle\">{times}×</text>"
        );
    }
    let logarithm = format!(
        "M{:.0} {:.1}L{:.0} {:.1}",
        x(0.0),
        y(1.0),
        x(decades),
        y(1.0 + decades)
    );
    let _ = writeln!(
        svg,
        "<path d=\"{logarithm}\" fill=\"none\" stroke=\"#a0aec0\" stroke-dasharray=\"5 4\"/>"
    );
    for (place, (label, points)) in relative.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let path: Vec<String> = points
            .iter()
            .map(|(size, cost)| format!("{:.1} {:.1}", x(*size), y(*cost)))
            .collect();
        let beside = WIDTH - RIGHT + 20.0;
        let row = TOP + 20.0 * (place as f64 + 1.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{beside:.0}\" y=\"{row:.0}\" fill=\"{colour}\">{label}</text>",
            path.join("L")
        );
    }
    let below = TOP + 20.0 * (relative.len() as f64 + 1.0);
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{below:.0}\" fill=\"#718096\">dashed: 1 + log10 of the growth</text>\n</svg>",
        WIDTH - RIGHT + 20.0
    );
    svg
}

/// Sizes as decades over the smallest, figures as multiples of the first.
fn relative(line: &Line) -> (&str, Vec<(f64, f64)>) {
    let (least, first) = line.points.first().copied().unwrap_or((1.0, 1.0));
    let of = |(size, figure): &(f64, f64)| ((size / least).log10(), figure / first.max(f64::MIN_POSITIVE));
    (&line.label, line.points.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_grow_is_drawn_flat() {
        let flat = Line {
            label: "ack by runs".into(),
            points: vec![(1_000.0, 0.5), (10_000.0, 0.5), (100_000.0, 0.5)],
        };
        let svg = draw(&[flat]);
        let path = svg.lines().find(|line| line.contains("ack by runs")).unwrap();
        let (_, path) = path.split_once("d=\"M").unwrap();
        let (path, _) = path.split_once('"').unwrap();
        let heights: Vec<&str> = path
            .split('L')
            .map(|point| point.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(heights.len(), 3);
        assert!(heights.iter().all(|height| *height == heights[0]), "{path}");
    }
}
