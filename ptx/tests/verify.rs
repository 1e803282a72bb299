//! What the verifier rejects, rule by rule, and what it lets through.

use attnc_ptx::verify::Rule;
use attnc_ptx::{Builder, Inst, Module, Op, Operand, Reg, Stmt, Target, parse, types::RegType, verify};

/// A kernel for sm_90a with some registers.
fn text(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n
        .extern .shared .align 1024 .b8 tile[]; // bytes 4096
        .visible .entry f(.param .u64 x)\n.maxntid 384, 1, 1\n.minnctapersm 1\n{{
        .reg .pred %p<4>; .reg .b32 %r<8>, %a<4>; .reg .b64 %d<8>; .reg .f32 %f<8>;
        {body}
        }}"
    )
}

/// The rules that a body breaks.
fn rules(body: &str) -> Vec<(Rule, String)> {
    let module = parse(&text(body)).unwrap_or_else(|why| panic!("{why}"));
    verify(&module).into_iter().map(|it| (it.rule, it.to_string())).collect()
}

#[track_caller]
fn check_right(body: &str) {
    assert_eq!(rules(body), vec![]);
}

#[track_caller]
fn check_broken(body: &str, rule: Rule, expected: &str) {
    let found = rules(body);
    let [(broken, message)] = found.as_slice() else { panic!("one rule is broken, not {found:?}") };
    assert_eq!(*broken, rule);
    assert_eq!(message.strip_prefix("kernel `f`").unwrap_or(message), expected);
}

#[test]
fn operands_and_registers_are_those_of_the_kernel() {
    let module = |inst: Inst, reg: Reg| {
        let mut b = Builder::new("f");
        b.fresh(reg.ty);
        let mut kernel = b.finish();
        kernel.body.push(Stmt::Inst(inst));
        Module { version: (8, 0), target: Target::Sm80, comments: vec![], kernels: vec![kernel] }
    };
    let say = |module: &Module| {
        let broken = verify(module);
        assert_eq!(broken[0].rule, Rule::Operand);
        broken[0].why.clone()
    };
    let (word, float) = (Reg { id: 0, ty: RegType::B32 }, Reg { id: 0, ty: RegType::F32 });
    let ret = Inst::new(Op::Ret, vec![Operand::Reg(word)]);
    assert_eq!(say(&module(ret, word)), "`ret` takes 0 operands, found 1");
    let active = |id| Inst::new(Op::ActiveMask, vec![Operand::Reg(Reg { id, ty: RegType::B32 })]);
    assert_eq!(say(&module(active(0), float)), "register `%f0` is f32, used as b32");
    assert_eq!(say(&module(active(7), word)), "register 7 is not declared");
}

#[test]
fn the_machine_and_version_have_each_instruction() {
    let text = |target: &str, inst: &str| {
        format!(
            ".version 8.0 .target {target} .address_size 64 .visible .entry f() {{
            .reg .b64 %d; .reg .f32 %f<2>; mov.u64 %d, 0; mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; {inst} ret; }}"
        )
    };
    let say = |target: &str, inst: &str| {
        let broken = verify(&parse(&text(target, inst)).expect("a module"));
        broken.iter().map(|it| (it.rule, it.why.clone())).collect::<Vec<_>>()
    };
    assert_eq!(say("sm_90a", "fence.proxy.async;"), vec![]);
    let why = "it needs sm_90a, the module is for sm_80".to_owned();
    assert_eq!(say("sm_80", "fence.proxy.async;"), vec![(Rule::Feature, why)]);
    let why = "it needs version 8.1, the module has 8.0".to_owned();
    assert_eq!(say("sm_90a", "red.global.v2.f32.add [%d], {%f0, %f1};"), vec![(Rule::Feature, why)]);
}

#[test]
fn labels_are_placed_once() {
    check_broken("$a: bra $a; $a: ret;", Rule::Label, ": label `$a` is placed more than once");
    check_right("$a: .pragma \"nounroll\"; bra $a;");
    let why = ": `nounroll` does not follow the label of a loop";
    check_broken("$a: bra $a; .pragma \"nounroll\"; ret;", Rule::Label, why);
    let mut b = Builder::new("f");
    let label = b.label("nowhere");
    b.bra(label);
    let kernels = vec![b.finish()];
    let module = Module { version: (8, 0), target: Target::Sm80, comments: vec![], kernels };
    assert_eq!(verify(&module)[0].to_string(), "kernel `f`, `bra $nowhere`: the label is not placed");
}

#[test]
fn registers_are_written_before_they_are_read() {
    check_broken(
        "add.u32 %r0, %r1, 1; add.u32 %r2, %r1, 1; ret;",
        Rule::Defined,
        ", `add.u32 %r0, %r1, 1`: register `%r1` is read, but nothing before it writes it",
    );
    // It is enough that some path writes it; a loop does so for its next round.
    check_right(
        "mov.u32 %r3, %tid.x; setp.eq.u32 %p0, %r3, 0; @%p0 mov.u32 %r1, 1; @%p0 add.u32 %r2, %r1, 1; ret;",
    );
    check_broken(
        "bra $b; $a: mov.u32 %r1, 1; ret; $b: add.u32 %r0, %r1, 1; ret;",
        Rule::Defined,
        ", `add.u32 %r0, %r1, 1`: register `%r1` is read, but nothing before it writes it",
    );
}

#[test]
fn what_needs_a_whole_warp_is_not_where_lanes_part() {
    let thread = "mov.u32 %r0, %tid.x;";
    let parted = |text: &str| format!(", `{text}`: it needs a whole warp, but lanes have parted here");
    check_broken(
        &format!("{thread} setp.lt.u32 %p0, %r0, 7; @%p0 bra $end; bar.sync 0; $end: ret;"),
        Rule::Uniform,
        &parted("bar.sync 0"),
    );
    check_broken(
        &format!("{thread} setp.lt.u32 %p0, %r0, 7; @%p0 ret; bar.sync 0; ret;"),
        Rule::Uniform,
        &parted("bar.sync 0"),
    );
    check_broken(
        &format!("{thread} setp.lt.u32 %p0, %r0, 7; @%p0 bar.sync 0; ret;"),
        Rule::Uniform,
        ", `@%p0 bar.sync 0`: it needs a whole warp, but its guard may differ by lane",
    );
    check_broken(
        &format!("{thread} setp.lt.u32 %p0, %r0, 7; @%p0 ret; elect.sync _|%p1, -1; ret;"),
        Rule::Uniform,
        &parted("elect.sync _|%p1, -1"),
    );
    check_right(&format!("{thread} setp.lt.u32 %p0, %r0, 7; @%p0 ret; elect.sync _|%p1, 256; ret;"));
    check_broken(
        "elect.sync _|%p0, -1; @%p0 bra $end; bar.sync 0; $end: ret;",
        Rule::Uniform,
        &parted("bar.sync 0"),
    );
    // A loop that lanes leave one by one, and a value that differs after it.
    let walk = "mov.u32 %r1, 0; $l: add.u32 %r1, %r1, 1; setp.lt.u32 %p0, %r1, %r0; @%p0 bra $l;";
    check_right(&format!("{thread} {walk} bar.sync 0; ret;"));
    check_broken(
        &format!("{thread} {walk} setp.eq.u32 %p1, %r1, 3; @%p1 bra $end; bar.sync 0; $end: ret;"),
        Rule::Uniform,
        &parted("bar.sync 0"),
    );
    // Whole warps go their ways.
    for test in [
        "setp.lt.u32 %p0, %r0, 64;",
        "shr.u32 %r1, %r0, 5; setp.eq.u32 %p0, %r1, 1;",
        "div.u32 %r1, %r0, 128; setp.eq.u32 %p0, %r1, 1;",
        "and.b32 %r2, %r0, 7; shfl.sync.idx.b32 %r1, %r2, 0, 31, -1; setp.eq.u32 %p0, %r1, 1;",
        "mov.u32 %r1, %ctaid.x; setp.eq.u32 %p0, %r1, 1;",
    ] {
        check_right(&format!("{thread} {test} @%p0 bra $end; bar.sync 1, 64; $end: ret;"));
    }
}

/// A product with its descriptors.
const PRODUCT: &str = "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16
    {%f0, %f1, %f2, %f3}, {%a0, %a1, %a2, %a3}, %d0, %p0, 1, 1, 0;";

/// What it reads.
const READY: &str = "mov.u64 %d0, 0; mov.u32 %a0, 0; mov.u32 %a1, 0; mov.u32 %a2, 0; mov.u32 %a3, 0;
    setp.eq.u32 %p0, %a0, 1; wgmma.fence.sync.aligned;";

#[test]
fn registers_of_products_are_left_alone_until_they_are_done() {
    let group = format!("{PRODUCT} wgmma.commit_group.sync.aligned;");
    let wait = |left: u32| format!("wgmma.wait_group.sync.aligned {left};");
    let (sum, factor) = ("add.rn.f32 %f4, %f0, %f1;", "mov.u32 %a2, 1;");
    check_right(&format!("{READY} {group} {} {sum} {factor} ret;", wait(0)));
    let held = |text: &str, reg: &str| {
        format!(", `{text}`: register `%{reg}` belongs to a product that is under way")
    };
    let (sum_held, factor_held) = (held("add.rn.f32 %f4, %f0, %f1", "f0"), held("mov.u32 %a2, 1", "a2"));
    check_broken(&format!("{READY} {group} {sum} ret;"), Rule::InFlight, &sum_held);
    check_broken(&format!("{READY} {group} {factor} ret;"), Rule::InFlight, &factor_held);
    check_broken(&format!("{READY} {PRODUCT} {} {sum} ret;", wait(0)), Rule::InFlight, &sum_held);
    check_broken(&format!("{READY} {group} {} {sum} ret;", wait(1)), Rule::InFlight, &sum_held);
    // An older group is done while a younger one is not; another product may use the same registers.
    let other = group.replace("%f0, %f1, %f2, %f3", "%f4, %f5, %f6, %f7");
    check_right(&format!("{READY} {group} {other} {} add.rn.f32 %f0, %f0, %f1; {} ret;", wait(1), wait(0)));
    check_right(&format!("{READY} {group} {PRODUCT} {group} {} {sum} ret;", wait(0)));
    // Round a loop.
    let turn = "mov.u32 %r0, 0; $l: add.u32 %r0, %r0, 1; setp.lt.u32 %p1, %r0, 4; @%p1 bra $l;";
    check_broken(
        &format!("{READY} {} ret;", turn.replace("add.u32", &format!("{factor} {group} add.u32"))),
        Rule::InFlight,
        &factor_held,
    );
}

#[test]
fn registers_that_are_taken_were_given_back() {
    let change = |less: u32, more: u32| {
        format!(
            "mov.u32 %r0, %tid.x; setp.lt.u32 %p0, %r0, 128; @%p0 bra $less;
            setmaxnreg.inc.sync.aligned.u32 {more}; ret; $less: setmaxnreg.dec.sync.aligned.u32 {less}; ret;"
        )
    };
    check_right(&change(24, 240));
    check_broken(
        &change(40, 240),
        Rule::Pool,
        ", `setmaxnreg.inc.sync.aligned.u32 240`: 1 warp groups with [40] and 2 with 240 registers need 520, but 3 start with 168 each",
    );
    check_broken(
        &change(28, 160),
        Rule::Pool,
        ", `setmaxnreg.dec.sync.aligned.u32 28`: 28 registers are no multiple of 8",
    );
    let text = text(&change(24, 240)).replace(".minnctapersm 1\n", "");
    let broken = verify(&parse(&text).expect("a module"));
    assert_eq!(broken[0].why, "registers at the start are not known without `.maxntid` and `.minnctapersm`");
}

#[test]
fn shared_memory_fits_a_block() {
    let say = |bytes: u32, target: &str| {
        let text = text("ret;").replace("bytes 4096", &format!("bytes {bytes}")).replace("sm_90a", target);
        verify(&parse(&text).expect("a module"))
            .iter()
            .map(|it| (it.rule, it.why.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(say(227 * 1024, "sm_90a"), vec![]);
    let why = "232456 bytes of shared memory are more than the 232448 of sm_90a".to_owned();
    assert_eq!(say(227 * 1024 + 8, "sm_90a"), vec![(Rule::SharedMemory, why)]);
    let why = "167936 bytes of shared memory are more than the 166912 of sm_80".to_owned();
    assert_eq!(say(164 * 1024, "sm_80"), vec![(Rule::SharedMemory, why)]);
    let declared = |bytes: u32| format!(".shared .align 16 .b8 more[{bytes}]; ret;");
    check_right(&declared(48 * 1024));
    check_broken(
        &declared(48 * 1024 + 4),
        Rule::SharedMemory,
        ": 49156 bytes of shared memory are declared, more than 49152",
    );
}

#[test]
fn known_addresses_are_aligned_and_inside() {
    let start = "mov.u32 %r0, tile; add.u32 %r1, %r0, 64; mov.f32 %f0, 0f00000000;";
    check_right(&format!("{start} st.shared.f32 [%r1+4], %f0; st.shared.f32 [tile+4092], %f0; ret;"));
    check_broken(
        &format!("{start} st.shared.f32 [%r1+2], %f0; ret;"),
        Rule::Address,
        ", `st.shared.f32 [%r1+2], %f0`: byte 66 of `tile` is no multiple of 4",
    );
    check_broken(
        &format!("{start} st.shared.f32 [%r0+4096], %f0; ret;"),
        Rule::Address,
        ", `st.shared.f32 [%r0+4096], %f0`: 4 bytes at 4096 are outside of `tile`, which has 4096",
    );
    let copy = "cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes";
    check_broken(
        &format!("{start} mov.u64 %d0, 0; {copy} [%r1], [%d0, {{0}}], [%r1]; ret;"),
        Rule::Address,
        &format!(", `{copy} [%r1], [%d0, {{0}}], [%r1]`: byte 64 of `tile` is no multiple of 128"),
    );
}

/// A kernel that copies boxes, of which a remark says what they have.
fn with_boxes(body: &str) -> String {
    let remark = format!("// {}\n.extern", attnc_ptx::verify::boxes("x", 1024));
    let body = format!(
        "mov.u64 %d0, x; cvta.param.u64 %d1, %d0; mov.u32 %r0, tile; add.u32 %r1, %r0, 3072; mov.u32 %r2, %ctaid.x; {body} ret;"
    );
    text(&body).replace(".param .u64 x", ".param .align 64 .b8 x[128]").replacen(".extern", &remark, 1)
}

#[test]
fn a_barrier_awaits_as_many_bytes_as_are_copied_to_it() {
    let copy = |to: &str, bar: &str| {
        format!(
            "cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [{to}], [%d1, {{0}}], [{bar}];"
        )
    };
    let expect =
        |bar: &str, bytes: u32| format!("mbarrier.arrive.expect_tx.shared::cta.b64 _, [{bar}], {bytes};");
    let say = |body: &str| {
        let broken = verify(&parse(&with_boxes(body)).unwrap_or_else(|why| panic!("{why}")));
        broken.iter().map(|it| (it.rule, it.why.clone())).collect::<Vec<_>>()
    };
    let both = |bar: &str| format!("{}{}", copy("%r0", bar), copy("%r0+1024", bar));
    assert_eq!(say(&format!("{}{}", expect("%r1", 2048), both("%r1"))), vec![]);
    let told = |awaited: u32, copied: u32| {
        vec![(
            Rule::Transaction,
            format!("a barrier awaits {awaited} bytes here, and {copied} are copied to it"),
        )]
    };
    assert_eq!(say(&format!("{}{}", expect("%r1", 1024), both("%r1"))), told(1024, 2048));
    assert_eq!(say(&format!("{}{}", expect("%r1", 2048), copy("%r0", "%r1"))), told(2048, 1024));
    assert_eq!(say(&copy("%r0", "%r1")), told(0, 1024));
    // Each barrier for itself.
    let two = [expect("%r1", 1024), expect("%r1+8", 2048), both("%r1+8"), copy("%r0", "%r1")].concat();
    assert_eq!(say(&two), vec![]);
    let mixed = [expect("%r1", 2048), expect("%r1+8", 1024), both("%r1+8"), copy("%r0", "%r1")].concat();
    assert_eq!(say(&mixed), [told(2048, 1024), told(1024, 2048)].concat());
}

#[test]
fn boxes_begin_where_their_pattern_does() {
    let copy = |to: &str| {
        let copy = "cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes";
        format!(
            "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 1024; {copy} [{to}], [%d1, {{0}}], [%r1];"
        )
    };
    let say = |body: &str| {
        let broken = verify(&parse(&with_boxes(body)).unwrap_or_else(|why| panic!("{why}")));
        broken.iter().map(|it| (it.rule, it.why.clone())).collect::<Vec<_>>()
    };
    let turn = |bytes: u32| format!("mul.lo.u32 %r3, %r2, {bytes}; add.u32 %r4, %r0, %r3;");
    assert_eq!(say(&format!("{}{}", turn(3072), copy("%r4"))), vec![]);
    let off = |at: u32| vec![(Rule::Address, format!("byte {at} of `tile` is no multiple of 1024"))];
    assert_eq!(say(&copy("%r0+512")), off(512));
    assert_eq!(say(&format!("{}{}", turn(2048), copy("%r4+128"))), off(128));
    let outside = "1024 bytes at 3200 are outside of `tile`, which has 4096".to_owned();
    assert_eq!(say(&copy("%r0+3200")), vec![(Rule::Address, outside)]);
}

#[test]
fn barriers_are_for_whole_warps_and_numbered_in_the_text() {
    check_broken(
        "bar.sync 1, 40; ret;",
        Rule::Barrier,
        ", `bar.sync 1, 40`: 40 threads are no whole number of warps",
    );
    let refused = parse(&text("mov.u32 %r0, 1; bar.sync %r0; ret;")).expect_err("a wrong text").to_string();
    assert!(refused.contains("found a register of type b32, expected an integer from 0 to 15"), "{refused}");
}
