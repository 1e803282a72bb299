//! What was found to files for people and for tools: a page with plots, CSV, JSON. They hold no paths and no times of
//! day, and need nothing from elsewhere.

use std::fmt::Write;

use serde_json::{Value, json};

use super::plot::{Dot, Look, Plot, escaped, number, svg};
use super::{Found, Point};
use crate::analyze::{Alternative, Form};
use crate::machine::Machine;

/// What a report says of where all this holds.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The target, as it was named.
    pub target: String,
    /// The back end.
    pub backend: String,
    /// How many threads there are.
    pub threads: u32,
    /// What the machine can do.
    pub machine: Machine,
    /// Ranks whose extents were not given.
    pub assumed: Vec<String>,
}

/// How many mappings a page lists.
const LISTED: usize = 60;

/// All mappings, a line each.
pub fn csv(found: &Found) -> String {
    let caches: Vec<&str> = found
        .points
        .first()
        .map_or(Vec::new(), |it| it.estimate.traffic.iter().map(|it| it.level.as_str()).collect());
    let traffic: String = caches.iter().map(|it| format!("traffic_{it},")).collect();
    let mut text = format!(
        "place,label,model_s,measured_s,measured_low_s,measured_high_s,computing_s,flops,task_bytes,tile_bytes,strip_bytes,scratch_bytes,{traffic}front,default,mapping\n"
    );
    for (place, it) in found.points.iter().enumerate() {
        let estimate = &it.estimate;
        let measured =
            it.measured.map_or(",,".to_owned(), |[median, low, high]| format!("{median:e},{low:e},{high:e}"));
        let footprint = &estimate.footprint;
        let traffic: String = estimate.traffic.iter().map(|it| format!("{:.0},", it.bytes)).collect();
        text += &format!(
            "{},{},{:e},{measured},{:e},{:.0},{:.0},{:.0},{:.0},{:.0},{traffic}{},{},{}\n",
            place + 1,
            quoted(&it.label),
            estimate.seconds,
            estimate.computing,
            estimate.flops,
            footprint.task,
            footprint.tile,
            footprint.strip,
            footprint.scratch,
            it.front,
            it.default,
            quoted(&it.mapping.to_json()),
        );
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// All that was found.
pub fn to_json(found: &Found, setting: &Setting) -> Value {
    let extents: serde_json::Map<String, Value> =
        found.extents.iter().map(|(name, it)| (name.clone(), json!(it))).collect();
    let points = found.points.iter().enumerate().map(|(place, it)| {
        json!({
            "place": place + 1, "label": it.label, "model": it.estimate,
            "measured": it.measured.map(|[median, low, high]| json!({ "median": median, "low": low, "high": high })),
            "front": it.front, "default": it.default, "mapping": it.mapping,
        })
    });
    json!({
        "kernel": found.analysis.name, "target": setting.target, "backend": setting.backend,
        "threads": setting.threads, "extents": extents, "assumed": setting.assumed,
        "flops": found.flops, "illegal": found.illegal, "points": points.collect::<Vec<_>>(),
        "cascades": found.analysis.alternatives, "machine": setting.machine,
    })
}

/// A page that stands by itself.
pub fn html(found: &Found, setting: &Setting) -> String {
    let name = escaped(&found.analysis.name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{name}: design space</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
    );
    let extents: Vec<String> = found.extents.iter().map(|(name, it)| format!("|{name}| = {it}")).collect();
    let assumed = match setting.assumed.is_empty() {
        true => String::new(),
        false => format!(" ({} assumed)", setting.assumed.join(", ")),
    };
    let facts = [
        ("extents", format!("{}{assumed}", extents.join(", "))),
        ("target", format!("{}, {}, threads: {}", setting.target, setting.backend, setting.threads)),
        ("machine", setting.machine.cpu.clone()),
        ("mappings", format!("{} legal, {} not", found.points.len(), found.illegal)),
    ];
    page += "<dl>\n";
    for (term, text) in facts {
        put(&mut page, format_args!("<dt>{term}</dt><dd>{}</dd>", escaped(&text)));
    }
    page += "</dl>\n<h2>Mappings</h2>\n<p>Filled dots are on the Pareto front of time, bytes of scratch and bytes moved into the last cache of a core; the large one is what the target has by itself.</p>\n<div class=\"plots\">\n";
    page += &svg(&of_footprint(found));
    page += &svg(&of_traffic(found));
    if found.points.iter().any(|it| it.measured.is_some()) {
        page += &svg(&of_measures(found));
    }
    page += "</div>\n";
    mappings(&mut page, found);
    page += "<h2>Equal cascades</h2>\n<p>What the laws of arithmetic make of the cascade as written; the chosen one is compiled.</p>\n<div class=\"plots\">\n";
    page += &svg(&of_cascades(&found.analysis.alternatives));
    page += "</div>\n";
    cascades(&mut page, &found.analysis.alternatives);
    page + "</body>\n</html>\n"
}

const STYLE: &str = "body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem } dt { color: #666 } dd { margin: 0 }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } svg { width: 520px; max-width: 100%; font-size: 11px; fill: #444 }
svg .title { font-size: 13px; font-weight: 600 } .grid { stroke: #e4e4e4 } .same { stroke: #999; stroke-dasharray: 4 3 }
circle { stroke: #1f5fa8; fill: none } circle.front { fill: #1f5fa8 } circle.marked { stroke: #b3261e; stroke-width: 2 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee }
th:first-child, td:first-child, .left { text-align: left } tr.front td:first-child::before { content: '\\25CF ' } tr.default { background: #fdf1f0 }
code { font-size: 13px }
";

fn look(point: &Point) -> Look {
    match (point.default, point.front) {
        (true, _) => Look::Marked,
        (false, true) => Look::Front,
        (false, false) => Look::Plain,
    }
}

fn dots(found: &Found, x: impl Fn(&Point) -> f64, y: impl Fn(&Point) -> Option<f64>) -> Vec<Dot> {
    let dot = |it: &Point| {
        let title = format!("{}: {}s", it.label, number(it.estimate.seconds));
        Some(Dot { x: x(it), y: y(it)?, title, look: look(it) })
    };
    found.points.iter().filter_map(dot).collect()
}

fn of_footprint(found: &Found) -> Plot<'static> {
    let dots = dots(found, |it| it.estimate.footprint.scratch, |it| Some(it.estimate.seconds));
    Plot {
        title: "Time by the model and scratch",
        axes: ["bytes of scratch of a thread", "seconds"],
        dots,
        diagonal: false,
    }
}

fn of_traffic(found: &Found) -> Plot<'static> {
    let beyond = |it: &Point| it.estimate.traffic.get(1).map_or(0.0, |it| it.bytes);
    let dots = dots(found, beyond, |it| Some(it.estimate.seconds));
    let axes = ["bytes moved into the last cache of a core", "seconds"];
    Plot { title: "Time by the model and traffic", axes, dots, diagonal: false }
}

fn of_measures(found: &Found) -> Plot<'static> {
    let dots = dots(found, |it| it.estimate.seconds, |it| Some(it.measured?[0]));
    let axes = ["seconds by the model", "seconds measured"];
    Plot { title: "The model and what was measured", axes, dots, diagonal: true }
}

fn of_cascades(all: &[Alternative]) -> Plot<'static> {
    let dot = |it: &Alternative| Dot {
        x: it.flops,
        y: it.passes.into(),
        title: format!("{}: {} passes, {} FLOPs", form(it.form), it.passes, number(it.flops)),
        look: if it.form == Form::Chosen { Look::Marked } else { Look::Plain },
    };
    let axes = ["FLOPs", "passes, over all ranks"];
    Plot { title: "Passes and work", axes, dots: all.iter().map(dot).collect(), diagonal: false }
}

/// What a form is called.
pub fn form(form: Form) -> &'static str {
    match form {
        Form::Chosen => "chosen",
        Form::Written => "as written",
        Form::Other => "other",
    }
}

fn mappings(page: &mut String, found: &Found) {
    let points = &found.points;
    let caches: String = points.first().map_or(String::new(), |it| {
        it.estimate.traffic.iter().map(|it| format!("<th>into {}</th>", it.level)).collect()
    });
    put(
        page,
        format_args!(
            "<table>\n<tr><th>mapping</th><th>model</th><th>measured</th><th>GFLOP/s</th><th>task</th><th>tile</th><th>strip</th><th>scratch</th>{caches}</tr>"
        ),
    );
    for it in points.iter().take(LISTED) {
        let class = match (it.front, it.default) {
            (true, true) => " class=\"front default\"",
            (true, false) => " class=\"front\"",
            (false, true) => " class=\"default\"",
            (false, false) => "",
        };
        let measured = it.measured.map_or("-".to_owned(), |it| format!("{}s", number(it[0])));
        let time = it.measured.map_or(it.estimate.seconds, |it| it[0]);
        let footprint = &it.estimate.footprint;
        let bytes = [footprint.task, footprint.tile, footprint.strip, footprint.scratch];
        let bytes: String = bytes.iter().map(|it| format!("<td>{}</td>", number(*it))).collect();
        let traffic: String =
            it.estimate.traffic.iter().map(|it| format!("<td>{}</td>", number(it.bytes))).collect();
        put(
            page,
            format_args!(
                "<tr{class}><td><code>{}</code></td><td>{}s</td><td>{measured}</td><td>{:.1}</td>{bytes}{traffic}</tr>",
                escaped(&it.label),
                number(it.estimate.seconds),
                found.flops / time / 1e9,
            ),
        );
    }
    *page += "</table>\n";
    if points.len() > LISTED {
        put(page, format_args!("<p>{} more are in the CSV file.</p>", points.len() - LISTED));
    }
}

fn cascades(page: &mut String, all: &[Alternative]) {
    *page += "<table>\n<tr><th>cascade</th><th>passes</th><th>bytes moved</th><th>FLOPs</th><th class=\"left\">why not</th></tr>\n";
    for it in all {
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"left\">{}</td></tr>",
                form(it.form),
                it.passes,
                number(it.bytes),
                number(it.flops),
                it.why.unwrap_or_default()
            ),
        );
    }
    *page += "</table>\n";
}

fn put(page: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(page, "{line}").expect("text can grow");
}
