//! Modules that nobody wrote: they read back as they were printed, and spoilt text is refused, not feared.

mod common;

use attnc_ptx::{Inst, Op, Target, parse};
use std::sync::LazyLock;

use common::{Stock, module_of};
use proptest::prelude::*;
use proptest::sample::Index;

/// Every form.
static ALL: LazyLock<Vec<Op>> = LazyLock::new(Op::all);

/// Some instructions, each as likely as any other form.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(any::<Index>().prop_map(|index| *index.get(&ALL)), 0..40)
}

proptest! {
    /// Guards, numbers, comments and labels of any order survive the way through text.
    #[test]
    fn what_is_printed_reads_back(
        ops in ops(),
        seed in prop::collection::vec(any::<u64>(), 40),
        remark in "[ -~]{0,20}",
    ) {
        let mut stock = Stock::new();
        let mut labels: Vec<_> = (0..4).map(|_| stock.builder.label("at")).collect();
        let guard = stock.builder.fresh(attnc_ptx::types::RegType::Pred);
        for (op, seed) in ops.iter().zip(&seed) {
            stock.numbers = *seed;
            let inst = stock.inst(*op);
            let inst = match seed % 3 { 0 => inst.when(guard), 1 => inst.unless(guard), _ => inst };
            stock.builder.add(inst);
            stock.builder.comment(&remark);
            if seed % 5 == 0 && let Some(label) = labels.pop() {
                stock.builder.place(label);
                stock.builder.no_unroll();
            }
        }
        for label in labels {
            stock.builder.place(label);
        }
        let module = stock.module(Target::Sm90a);
        prop_assert_eq!(parse(&module.to_string()), Ok(module));
    }

    /// A piece of a text put elsewhere, or anything at all, is read or refused.
    #[test]
    fn no_text_makes_the_parser_panic(ops in ops(), from: Index, to: Index, junk in ".{0,12}") {
        let text = module_of(Target::Sm90a, &ops, 1).to_string();
        let (from, to) = (from.index(text.len()), to.index(text.len()));
        let (from, to) = (from.min(to), from.max(to));
        if text.is_char_boundary(from) && text.is_char_boundary(to) {
            let _ = parse(&format!("{}{junk}{}", &text[..from], &text[to..]));
            let _ = parse(&format!("{}{}", &text[..to], &text[from..]));
        }
        let _ = parse(&junk);
    }

    /// What an instruction reads and writes is what stands in it.
    #[test]
    fn every_register_of_an_instruction_is_read_or_written(op in any::<Index>()) {
        let mut stock = Stock::new();
        let inst: Inst = stock.inst(*op.get(&ALL));
        let mut found = Vec::new();
        inst.operands.iter().for_each(|operand| operand.regs(&mut found));
        let mut walked = inst.reads();
        walked.extend(inst.writes());
        found.sort();
        walked.sort();
        walked.dedup();
        found.dedup();
        prop_assert_eq!(found, walked);
    }
}
