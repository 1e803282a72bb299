//! Conditions of a cascade that no input decides to pictures: which key each query sees.
//!
//! ```text
//! S[b, h, m, n] = ... where n <= m   ->   a triangle
//! ```

use std::collections::BTreeMap;

use attnc::ir::array::Data;
use attnc::ir::cascade::{At, Cascade, Dim, Einsum, ExprId, Op, RankId, Role, Step, Tensor, TensorId};
use attnc::ir::expr::Expr;
use attnc::ir::interp::{self, Call};
use attnc_dsl::ast::{DType, Kind};

/// The most panels of a picture, one for each head.
const PANELS: usize = 4;
/// The most points along a side.
const SIDE: usize = 64;
/// The side of one point, and the gap between panels.
const POINT: usize = 4;

/// The mask of the first reals that are absent where some key is not seen, as SVG.
pub fn picture(cascade: &Cascade, call: &Call, key: &str) -> Option<String> {
    let key = cascade.ranks.iter().find(|(_, it)| it.name == key && !it.local)?.0;
    let free = data_free(cascade);
    for einsum in cascade.einsums() {
        for id in cascade.exprs.postorder(einsum.value) {
            let Expr::Where(value, condition) = *cascade.exprs.get(id) else { continue };
            if cascade.exprs.kind(value) != Kind::Real || !reads_only(cascade, condition, &free) {
                continue;
            }
            if let Some(axes) = axes(cascade, einsum, condition, key) {
                return drawn(cascade, call, condition, &axes);
            }
        }
    }
    None
}

/// The ranks of a condition, the row and the key last: of a rank before the row at most one, such as heads.
fn axes(cascade: &Cascade, einsum: &Einsum, condition: ExprId, key: RankId) -> Option<Vec<RankId>> {
    let used = cascade.exprs.free(condition);
    let uses = |rank: RankId| cascade.exprs.atoms(rank).iter().any(|it| used.contains(it));
    let mut axes: Vec<RankId> = einsum.iterated().into_iter().filter(|&it| it != key && uses(it)).collect();
    axes.push(key);
    let known: Vec<RankId> = axes.iter().flat_map(|&it| cascade.exprs.atoms(it).to_vec()).collect();
    let complete = used.iter().all(|it| known.contains(it)) && uses(key);
    (complete && (2..=3).contains(&axes.len())).then_some(axes)
}

/// The tensors that no input has a part in.
fn data_free(cascade: &Cascade) -> BTreeMap<TensorId, bool> {
    let mut free: BTreeMap<TensorId, bool> = cascade.inputs().map(|it| (it, false)).collect();
    for step in &cascade.steps {
        match step {
            Step::Einsum(it) => {
                let own = reads_only(cascade, it.value, &free);
                free.insert(it.tensor, own);
            }
            Step::Recurrence(it) => free.extend(it.bases.iter().chain(&it.body).map(|it| (it.tensor, false))),
        }
    }
    free
}

fn reads_only(cascade: &Cascade, value: ExprId, free: &BTreeMap<TensorId, bool>) -> bool {
    cascade.exprs.reads(value).all(|(it, _)| free.get(&it).copied().unwrap_or(false))
}

/// The condition as the only output of the cascade, evaluated and drawn, unless everything or nothing is seen.
fn drawn(cascade: &Cascade, call: &Call, condition: ExprId, axes: &[RankId]) -> Option<String> {
    let mut own = cascade.clone();
    own.assumes.clear();
    for id in cascade.tensors.ids() {
        if own.tensors[id].role == Role::Output {
            own.tensors[id].role = Role::Intermediate;
        }
    }
    let tensor = own.tensors.push(Tensor {
        name: "picture".to_owned(),
        dims: axes.iter().map(|&rank| Dim { rank, lag: 0 }).collect(),
        kind: Kind::Bool,
        dtype: Some(DType::Bool),
        role: Role::Output,
    });
    let at = axes.iter().map(|&it| At::Rank(it, 0)).collect();
    own.steps.push(Step::Einsum(Einsum { tensor, at, op: Op::Map, value: condition, exact: false }));
    let outputs = interp::cascade::run(&own, call).ok()?;
    let found = &outputs["picture"];
    let Data::Bool(seen) = &found.data else { return None };
    let (heads, sides) = found.shape.split_at(axes.len() - 2);
    let (rows, keys) = (sides[0], sides[1]);
    let trivial = seen.iter().all(|it| *it) || !seen.contains(&true);
    if trivial || rows < 2 || keys < 2 || rows > SIDE || keys > SIDE {
        return None;
    }
    let panels = heads.first().copied().unwrap_or(1).min(PANELS);
    Some(svg(seen, panels, rows, keys))
}

/// Runs of points that are seen as bars, panel beside panel.
fn svg(seen: &[bool], panels: usize, rows: usize, keys: usize) -> String {
    let (width, height) = (panels * (keys + 2) * POINT - 2 * POINT, rows * POINT);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n"
    );
    for panel in 0..panels {
        let left = panel * (keys + 2) * POINT;
        text += &format!(
            "<rect x=\"{left}\" width=\"{}\" height=\"{height}\" fill=\"#e8e8e8\"/>\n",
            keys * POINT
        );
        text += "<path fill=\"#24588f\" d=\"";
        for row in 0..rows {
            let line = &seen[(panel * rows + row) * keys..][..keys];
            let mut at = 0;
            while at < keys {
                let run = line[at..].iter().take_while(|it| **it == line[at]).count();
                if line[at] {
                    text += &format!("M{} {}h{}v{POINT}h-{2}z", left + at * POINT, row * POINT, run * POINT);
                }
                at += run;
            }
        }
        text += "\"/>\n";
    }
    text + "</svg>\n"
}
