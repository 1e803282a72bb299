//! Every system of the catalogue has a spec whose kernel takes and gives what its signature says, under the same names.
//!
//! `tests/signatures.json` is a copy of the catalogue, made by `tests/make_fixtures.py`; where the catalogue itself lies
//! beside the repository, the copy is compared with it.

use attnc::ir::array::{Array, Data, Value};
use attnc::ir::cascade::{Cascade, ParamValue, Role};
use attnc::ir::interp::{self, Call};
use attnc_dsl::ast::{DType, Kind};
use attnc_tests::fixture::{compile, repository, scalar};
use serde_json::{Map, Value as Json};

#[test]
fn every_system_has_a_kernel_of_its_signature() {
    let mut faults = Vec::new();
    let signatures = signatures("tests/signatures.json").expect("the copy of the signatures can be read");
    for (name, signature) in &signatures {
        let path = repository(&format!("examples/gallery/{name}.attn"));
        if !path.exists() {
            faults.push(format!("{name}: there is no spec"));
            continue;
        }
        let sets = signature.get("set").and_then(Json::as_object).into_iter().flatten();
        let sets =
            sets.map(|(rank, it)| (rank.clone(), it.as_i64().expect("an extent is an integer"))).collect();
        let cascade = compile(&path, sets, part(signature, "params"));
        faults.extend(misfits(&cascade, signature).into_iter().map(|it| format!("{name}: {it}")));
    }
    assert!(signatures.len() > 300, "the catalogue has its systems");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_copy_of_the_signatures_is_that_of_the_catalogue() {
    let Some(catalogue) = signatures("../shared/variants/signatures.json") else {
        eprintln!(
            "SKIP: ../shared/variants/signatures.json is not there to compare tests/signatures.json with"
        );
        return;
    };
    let copy = signatures("tests/signatures.json").expect("the copy of the signatures can be read");
    assert!(copy.keys().eq(catalogue.keys()), "other systems: run `./x fixtures`");
    for (name, entry) in &catalogue {
        for side in ["inputs", "outputs"] {
            for (tensor, it) in part(entry, side) {
                let shape: Vec<String> =
                    it["shape"].as_array().into_iter().flatten().map(Json::to_string).collect();
                let found = part(&copy[name], side).get(tensor).and_then(Json::as_str);
                let expected =
                    [&[it["dtype"].as_str().expect("a dtype has a name").to_owned()], &shape[..]].concat();
                assert_eq!(found, Some(&*expected.join(" ")), "`{tensor}` of {name}: run `./x fixtures`");
            }
        }
    }
}

/// What a kernel has that its signature lacks, and the other way round.
fn misfits(cascade: &Cascade, signature: &Json) -> Vec<String> {
    let mut faults = Vec::new();
    let mut call = Call::default();
    for (name, it) in part(signature, "inputs") {
        let (dtype, shape) = tensor(it);
        faults.extend(declared(cascade, name, Role::Input, dtype, shape.len()).err());
        call.inputs.insert(name.clone(), zeros(kind(dtype), shape));
    }
    for (name, it) in part(signature, "outputs") {
        let (dtype, shape) = tensor(it);
        faults.extend(declared(cascade, name, Role::Output, dtype, shape.len()).err());
    }
    for (_, it) in cascade.tensors.iter() {
        let (role, side) = match it.role {
            Role::Input => ("input", "inputs"),
            Role::Output => ("output", "outputs"),
            Role::Intermediate | Role::Temporary | Role::Once => continue,
        };
        if !part(signature, side).contains_key(&it.name) {
            faults.push(format!("{role} `{}` is not in the signature", it.name));
        }
    }
    for (name, value) in part(signature, "params") {
        match cascade.params.iter().find(|(_, it)| it.name == *name) {
            None => faults.push(format!("parameter `{name}` is missing")),
            Some((_, it)) => match (it.dtype.kind(), scalar(value)) {
                (Kind::Real, Value::Real(_) | Value::Int(_))
                | (Kind::Int, Value::Int(_))
                | (Kind::Bool, Value::Bool(_)) => {
                    if matches!(it.value, ParamValue::Launch(_)) {
                        call.params.insert(name.clone(), scalar(value));
                    }
                }
                (kind, value) => faults.push(format!("parameter `{name}` is {kind:?} and not {value:?}")),
            },
        }
    }
    if faults.is_empty() {
        faults.extend(shapes(cascade, &call, signature).err());
    }
    faults
}

/// Whether a tensor is declared in that role, with as many ranks and values of that dtype.
fn declared(cascade: &Cascade, name: &str, role: Role, dtype: &str, n_ranks: usize) -> Result<(), String> {
    let found = cascade.tensors.iter().find(|(_, it)| it.name == name && it.role == role);
    let (_, it) = found.ok_or_else(|| format!("{role:?} `{name}` is missing"))?;
    if it.dims.len() != n_ranks {
        return Err(format!("`{name}` has {} ranks, not {n_ranks}", it.dims.len()));
    }
    let exact = match dtype {
        "int8" => it.dtype == Some(DType::I8),
        "uint8" => it.dtype == Some(DType::U8),
        _ => true,
    };
    if it.kind == kind(dtype) && exact {
        Ok(())
    } else {
        Err(format!("`{name}` holds {:?}, not {dtype}", it.dtype))
    }
}

/// Whether inputs of the signature's shapes give outputs of its shapes.
fn shapes(cascade: &Cascade, call: &Call, signature: &Json) -> Result<(), String> {
    let found = interp::cascade::run(cascade, call).map_err(|it| it.to_string())?;
    for (name, it) in part(signature, "outputs") {
        let (_, shape) = tensor(it);
        if found[name].shape != shape {
            return Err(format!("`{name}` has the shape {:?}, not {shape:?}", found[name].shape));
        }
    }
    Ok(())
}

fn zeros(kind: Kind, shape: Vec<usize>) -> Array {
    let len = shape.iter().product();
    let data = match kind {
        Kind::Real => Data::Real(vec![0.0; len]),
        Kind::Int => Data::Int(vec![0; len]),
        Kind::Bool => Data::Bool(vec![false; len]),
    };
    Array { shape, data }
}

fn kind(dtype: &str) -> Kind {
    match dtype {
        "bool" => Kind::Bool,
        "int64" | "int8" | "uint8" => Kind::Int,
        "float64" => Kind::Real,
        other => panic!("a signature has the dtype {other}"),
    }
}

/// `dtype extent ...`
fn tensor(text: &Json) -> (&str, Vec<usize>) {
    let mut words = text.as_str().expect("a tensor is a text").split(' ');
    let dtype = words.next().expect("a tensor has a dtype");
    (dtype, words.map(|it| it.parse().expect("an extent is an integer")).collect())
}

fn part<'a>(signature: &'a Json, name: &str) -> &'a Map<String, Json> {
    signature[name].as_object().expect("a signature has its parts")
}

fn signatures(path: &str) -> Option<Map<String, Json>> {
    let text = std::fs::read_to_string(repository(path)).ok()?;
    Some(serde_json::from_str(&text).expect("signatures are JSON"))
}
