//! `.npy` files to arrays.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use attnc::ir::array::{Array, Data};
use npyz::{NpyFile, Order};

/// The array in a file; what does not hold one of our arrays is a broken fixture, so it panics.
pub fn read(path: &Path) -> Array {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let npy =
        NpyFile::new(BufReader::new(file)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let shape: Vec<usize> = npy.shape().iter().map(|&extent| extent as usize).collect();
    assert!(npy.order() == Order::C || shape.len() < 2, "{} is not in C order", path.display());
    let descr = npy.dtype().descr();
    let data = elements(npy, descr.trim_matches('\''));
    Array { shape, data: data.unwrap_or_else(|error| panic!("{} of {descr}: {error}", path.display())) }
}

fn elements(npy: NpyFile<BufReader<File>>, descr: &str) -> std::io::Result<Data> {
    macro_rules! widened {
        ($kind:ident, $from:ty, $to:ty) => {
            Data::$kind(npy.into_vec::<$from>()?.into_iter().map(<$to>::from).collect())
        };
    }
    Ok(match descr {
        "<f8" => widened!(Real, f64, f64),
        "<f4" => widened!(Real, f32, f64),
        "<i8" => widened!(Int, i64, i64),
        "<i4" => widened!(Int, i32, i64),
        "<i2" => widened!(Int, i16, i64),
        "|i1" => widened!(Int, i8, i64),
        "|u1" => widened!(Int, u8, i64),
        "|b1" => widened!(Bool, bool, bool),
        _ => return Err(std::io::Error::other("no dtype of the fixtures")),
    })
}
