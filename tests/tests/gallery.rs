//! Every kernel of the gallery computes what its independent reference says.

use std::fs;

use attnc::driver::{Request, front};
use attnc::ir::array::{Array, Data};
use attnc::ir::interp::{Call, cascade};
use attnc_dsl::diag::Source;
use attnc_dsl::render;
use attnc_tests::fixture::{Fixture, fixtures, repository};

#[test]
fn the_interpreter_agrees_with_the_references() {
    let wrong: Vec<String> = fixtures().iter().flat_map(disagreements).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with one call, in words.
fn disagreements(fixture: &Fixture) -> Vec<String> {
    let id = format!("{} {}", fixture.name, fixture.case);
    let outputs = match interpret(fixture) {
        Ok(outputs) => outputs,
        Err(why) => return vec![format!("{id}: {why}")],
    };
    let compare = |(name, expected): &(String, Array)| match outputs.get(name) {
        None => Some(format!("{id}: no output `{name}`")),
        Some(found) => differ(found, expected).map(|why| format!("{id}: `{name}` {why}")),
    };
    fixture.outputs.iter().filter_map(compare).collect()
}

fn interpret(fixture: &Fixture) -> Result<indexmap::IndexMap<String, Array>, String> {
    let gallery = repository("examples/gallery");
    let file = format!("{}.attn", fixture.name);
    let text = fs::read_to_string(gallery.join(&file)).map_err(|it| it.to_string())?;
    let mut fetch = |path: &str| fs::read_to_string(gallery.join(path)).map_err(|it| it.to_string());
    let request =
        Request { source: Source { name: file, text }, fetch: &mut fetch, fixed: fixture.fixed.clone() };
    let front = front(request).map_err(|it| render::text(&it.sources, &it.diagnostics))?;
    let call = Call { inputs: fixture.inputs.iter().cloned().collect(), ..Call::default() };
    cascade::run(&front.cascades[0], &call).map_err(|it| it.to_string())
}

/// How two arrays differ, if they do: reals by more than rounding of sums of this length can explain.
fn differ(found: &Array, expected: &Array) -> Option<String> {
    if found.shape != expected.shape {
        return Some(format!("has shape {:?}, expected {:?}", found.shape, expected.shape));
    }
    let close = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    let at = match (&found.data, &expected.data) {
        (Data::Real(found), Data::Real(expected)) => {
            found.iter().zip(expected).position(|(&a, &b)| !close(a, b))
        }
        (Data::Int(found), Data::Int(expected)) => found.iter().zip(expected).position(|(a, b)| a != b),
        (Data::Bool(found), Data::Bool(expected)) => found.iter().zip(expected).position(|(a, b)| a != b),
        (found, expected) => return Some(format!("is {:?}, expected {:?}", found.kind(), expected.kind())),
    };
    at.map(|at| format!("at {at}: {:?}, expected {:?}", found.data.get(at), expected.data.get(at)))
}
