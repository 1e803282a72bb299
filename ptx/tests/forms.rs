//! Every instruction that there is, printed and read back.
//!
//! `ATTNC_PTX_FORMS=FOLDER` has the texts written there, for ptxas to judge.

mod common;

use attnc_ptx::{Op, Target, parse};
use common::module_of;

#[test]
fn every_form_reads_back_as_it_was_printed() {
    for target in Target::ALL {
        let ops: Vec<Op> = Op::all().into_iter().filter(|op| op.least_target() <= *target).collect();
        // Registers as operands, then numbers where they may stand.
        for (kind, bits) in [("registers", 1), ("numbers", 0x3ff0_0000_0000_0000)] {
            let module = module_of(*target, &ops, bits);
            let text = module.to_string();
            if let Ok(folder) = std::env::var("ATTNC_PTX_FORMS") {
                std::fs::write(format!("{folder}/{kind}_{}.ptx", target.text()), &text).unwrap();
            }
            assert_eq!(parse(&text).unwrap(), module);
        }
    }
}
