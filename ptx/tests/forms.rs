//! Every instruction that there is, printed and read back.

mod common;

use attnc_ptx::{Op, Target, parse};
use common::module_of;

#[test]
fn every_form_reads_back_as_it_was_printed() {
    let module = module_of(Target::Sm80, &Op::all());
    let text = module.to_string();
    if let Ok(path) = std::env::var("FORMS") {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(parse(&text).unwrap(), module);
}
