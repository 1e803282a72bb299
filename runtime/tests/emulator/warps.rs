//! What lanes tell each other, vectors in memory, atomics, and matrices.

use attnc_ptx::modifier::Mma;
use half::{bf16, f16};

use crate::one::random;
use crate::text::{check_fault, run, run_under};
use attnc_runtime::emulator::Schedule;

#[test]
fn shuffles_read_the_lanes_that_cuda_says() {
    // A clamp of 0x1f is a segment of 32 lanes; 0x181f and 0x1800 are segments of 8.
    let shuffled = |mode: &str, by: u32, clamp: u32| {
        run(
            &format!(
                "shfl.sync.{mode}.b32 %r0|%p0, %lane, {by}, {clamp}, -1; selp.u32 %r1, 100, 0, %p0;
            add.u32 %r0, %r0, %r1; st.global.u32 [%d0], %r0;"
            ),
            32,
        )
    };
    for lane in 0..32u32 {
        let at = lane as usize;
        let inside = |from: u32| 100 + from;
        assert_eq!(shuffled("bfly", 5, 0x1f)[at], inside(lane ^ 5));
        assert_eq!(shuffled("idx", 9, 0x1f)[at], inside(9));
        assert_eq!(shuffled("idx", 9, 0x181f)[at], inside((lane & 24) + 1));
        assert_eq!(shuffled("up", 3, 0)[at], if lane < 3 { lane } else { inside(lane - 3) });
        assert_eq!(shuffled("up", 3, 0x1800)[at], if lane % 8 < 3 { lane } else { inside(lane - 3) });
        assert_eq!(shuffled("down", 2, 0x1f)[at], if lane > 29 { lane } else { inside(lane + 2) });
        assert_eq!(shuffled("down", 2, 0x181f)[at], if lane % 8 > 5 { lane } else { inside(lane + 2) });
    }
    let wrong = "setp.lt.u32 %p0, %lane, 16; @%p0 shfl.sync.bfly.b32 %r0, %lane, 16, 31, 0xffff;";
    check_fault(&wrong.replace("0xffff", "65535"), 32, "lane 0 reads lane 16, which takes no part");
    check_fault("shfl.sync.bfly.b32 %r0, %lane, 1, 31, 3;", 32, "lane 2 runs this, but is not in its mask");
}

#[test]
fn lanes_that_come_by_other_ways_are_waited_for() {
    let body = "setp.lt.u32 %p0, %lane, 16; @%p0 bra $low; mov.u32 %r1, 2; bra $meet; $low: mov.u32 %r1, 1;
        $meet: shfl.sync.bfly.b32 %r0, %r1, 16, 31, -1; st.global.u32 [%d0], %r0;";
    let words = run(body, 32);
    assert_eq!((words[3], words[20]), (2, 1));
    let apart =
        "setp.lt.u32 %p0, %lane, 16; @%p0 bra $end; bar.warp.sync -1; bar.sync 0; $end: bar.warp.sync -1;";
    let fault = run_under(apart, 32, Schedule::RoundRobin).expect_err("lanes that never meet").to_string();
    assert!(fault.contains("lanes 0x0000ffff do not come"), "{fault}");
}

#[test]
fn votes_matches_and_elections() {
    let odd = "and.b32 %r0, %lane, 1; setp.eq.u32 %p0, %r0, 1;";
    let say = "selp.u32 %r1, 1, 0, %p1; st.global.u32 [%d0], %r1;";
    assert_eq!(run(&format!("{odd} vote.sync.any.pred %p1, %p0, -1; {say}"), 32)[4], 1);
    assert_eq!(run(&format!("{odd} vote.sync.all.pred %p1, %p0, -1; {say}"), 32)[4], 0);
    assert_eq!(run(&format!("{odd} vote.sync.uni.pred %p1, %p0, -1; {say}"), 32)[4], 0);
    let word = "st.global.u32 [%d0], %r1;";
    assert_eq!(run(&format!("{odd} vote.sync.ballot.b32 %r1, %p0, -1; {word}"), 32)[0], 0xaaaa_aaaa);
    assert_eq!(run(&format!("{odd} match.any.sync.b32 %r1, %r0, -1; {word}"), 32)[6], 0x5555_5555);
    assert_eq!(run(&format!("{odd} match.all.sync.b32 %r1|%p1, %r0, -1; {word}"), 32)[6], 0);
    assert_eq!(run(&format!("redux.sync.add.u32 %r1, %lane, -1; {word}"), 32)[6], 31 * 16);
    assert_eq!(run(&format!("redux.sync.max.s32 %r1, %lane, -1; {word}"), 32)[6], 31);
    let elected = run(&format!("elect.sync _|%p1, -1; {say}"), 32);
    assert_eq!(elected.iter().take(32).filter(|it| **it == 1).count(), 1);
}

#[test]
fn vectors_signs_and_generic_addresses() {
    let body = "and.b32 %r0, %lane, 7; mul.wide.u32 %d1, %r0, 16; add.u64 %d1, %d1, %x;
        ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d1]; add.u32 %r1, %r1, %r4; st.global.u32 [%d0], %r1;";
    assert_eq!(run(body, 32)[2], 8 + 11);
    let body = "mov.u32 %r0, tile; add.u32 %r0, %r0, %s; mov.u32 %r1, 200; st.shared.u8 [%r0], %r1;
        ld.shared.s8 %r2, [%r0]; st.global.u32 [%d0], %r2;";
    assert_eq!(run(body, 32)[2], -56i32 as u32);
    let body = "mov.u32 %r0, tile; add.u32 %r0, %r0, %s; st.shared.u32 [%r0], %lane; cvt.u64.u32 %d1, %r0;
        cvta.shared.u64 %d1, %d1; ld.u32 %r1, [%d1]; add.u32 %r1, %r1, 9; st.u32 [%d0], %r1;";
    assert_eq!(run(body, 32)[2], 11);
    let body = "st.local.u32 [stack+4], %lane; ld.local.u32 %r1, [stack+4]; st.global.u32 [%d0], %r1;";
    assert_eq!(run(body, 32)[7], 7);
}

#[test]
fn atomics_give_what_was_there() {
    let each = |op: &str| run(&format!("atom.global.{op} %r1, [%x], %lane;"), 32)[0];
    assert_eq!(each("add.u32"), 31 * 16);
    assert_eq!(each("max.s32"), 31);
    assert_eq!(each("or.b32"), 31);
    assert_eq!(each("exch.b32"), 31);
    let old = run("atom.global.add.u32 %r1, [%x+128], 1; st.global.u32 [%d0], %r1;", 32);
    assert_eq!((old[0], old[31], old[32]), (32, 63, 64));
    assert_eq!(run("add.u32 %r2, %lane, 1; atom.global.cas.b32 %r1, [%x], %lane, %r2;", 32)[0], 32);
    let sum = "cvt.rn.f32.u32 %f0, %lane; mov.f32 %f1, 0f3F800000; st.global.f32 [%x], 0f00000000;
        st.global.f32 [%x+4], 0f00000000; red.global.v2.f32.add [%x], {%f0, %f1};";
    let words = run(sum, 32);
    assert_eq!((f32::from_bits(words[0]), f32::from_bits(words[1])), (496.0, 32.0));
}

#[test]
fn matrices_come_back_as_they_were_stored() {
    let body = |load: &str| {
        format!(
            "mov.u32 %r0, tile; mad.lo.u32 %r1, %lane, 16, %r0; shl.b32 %r2, %lane, 3; mov.u32 %r9, 0;
            $l: add.u32 %r3, %r2, %r9; cvt.u16.u32 %h0, %r3; mad.lo.u32 %r4, %r9, 2, %r1;
            st.shared.b16 [%r4], %h0; add.u32 %r9, %r9, 1; setp.lt.u32 %p0, %r9, 8; @%p0 bra $l;
            {load} st.global.u32 [%d0], %r8;"
        )
    };
    // Element (r, c) of matrix m is 64·m + 8·r + c.
    let word = |low: u32, high: u32| low | high << 16;
    for matrix in 0..4u32 {
        let load = |trans: &str| {
            body(&format!(
                "ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r5, %r6, %r7, %r10}}, [%r1];
                mov.u32 %r8, %r{};",
                [5, 6, 7, 10][matrix as usize]
            ))
        };
        for lane in 0..32u32 {
            let (row, column) = (lane / 4, 2 * (lane % 4));
            let at = |r: u32, c: u32| 64 * matrix + 8 * r + c;
            let plain = word(at(row, column), at(row, column + 1));
            assert_eq!(run(&load(""), 32)[lane as usize], plain);
            assert_eq!(run(&load(".trans"), 32)[lane as usize], word(at(column, row), at(column + 1, row)));
        }
    }
    let there_and_back = body(
        "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r5}, [%r1];
        stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r1], {%r5};
        ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r6}, [%r1]; movmatrix.sync.aligned.m8n8.trans.b16 %r8, %r6;",
    );
    assert_eq!(run(&there_and_back, 32)[9], word(8 * 2 + 2, 8 * 2 + 3));
}

/// The position of an element in fragments, by the tables of the PTX manual.
struct Layout {
    /// Bits of an element of the factors.
    bits: u32,
    k: u32,
}

impl Layout {
    /// Row and column of element `i` of A in a lane: groups of elements alternate between halves of rows.
    fn a(&self, lane: u32, i: u32) -> (u32, u32) {
        let (group, t, per) = (lane / 4, lane % 4, 32 / self.bits);
        let register = i / per;
        (group + 8 * (register % 2), t * per + i % per + 4 * per * (register / 2))
    }

    /// Row and column of element `i` of B in a lane.
    fn b(&self, lane: u32, i: u32) -> (u32, u32) {
        let (group, t, per) = (lane / 4, lane % 4, 32 / self.bits);
        (t * per + i % per + 4 * per * (i / per), group)
    }
}

/// Runs one product of small whole numbers, as exact in every format, with C all ones.
fn check_mma(
    form: Mma,
    layout: &Layout,
    encode: impl Fn(i32) -> u32,
    decode: impl Fn(u32) -> i32,
    signed: bool,
) {
    let numbers: Vec<i32> =
        random(11, 1024).iter().map(|it| (it % 7) as i32 - if signed { 3 } else { 0 }).collect();
    let (a, b) = (&numbers[..512], &numbers[512..]);
    let per = 32 / layout.bits;
    let fragments = form.fragments();
    let mut body = String::from("mov.u32 %r15, %lane;");
    let mut packed: Vec<[u32; 32]> = Vec::new();
    for register in 0..u32::from(fragments.registers[0] + fragments.registers[1]) {
        let first = u32::from(fragments.registers[0]);
        packed.push(std::array::from_fn(|lane| {
            (0..per).fold(0, |word, at| {
                let value = if register < first {
                    let (row, k) = layout.a(lane as u32, register * per + at);
                    a[(row * layout.k + k) as usize]
                } else {
                    let (k, column) = layout.b(lane as u32, (register - first) * per + at);
                    b[(column * layout.k + k) as usize]
                };
                word | encode(value) << (layout.bits * at)
            })
        }));
    }
    for (register, words) in packed.iter().enumerate() {
        for (lane, word) in words.iter().enumerate() {
            body += &format!("setp.eq.u32 %p0, %lane, {lane}; @%p0 mov.u32 %r{register}, {word};");
        }
    }
    let list = |letter: &str, from: u8, count: u8| {
        let names: Vec<String> = (from..from + count).map(|it| format!("%{letter}{it}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let [na, nb, nc] = fragments.registers;
    let float = form.mnemonic_starts_with_float();
    let (letter, one, first) =
        if float { ("f", "0f3F800000".to_owned(), 0) } else { ("r", "1".to_owned(), na + nb) };
    for sum in first..first + nc {
        body += &format!("mov.{} %{letter}{sum}, {one};", if float { "f32" } else { "u32" });
    }
    let sums = list(letter, first, nc);
    body += &format!(
        "mma.sync.aligned.{} {sums}, {}, {}, {sums};",
        form.text(),
        list("r", 0, na),
        list("r", na, nb)
    );
    for sum in 0..nc {
        let store = format!("st.global.b32 [%d0], %{letter}{};", first + sum);
        let words = run(&format!("{body} {store}"), 32);
        for lane in 0..32u32 {
            let (row, column) = (lane / 4 + 8 * (u32::from(sum) / 2), 2 * (lane % 4) + u32::from(sum) % 2);
            let dot: i32 = (0..layout.k)
                .map(|k| a[(row * layout.k + k) as usize] * b[(column * layout.k + k) as usize])
                .sum();
            assert_eq!(decode(words[lane as usize]), dot + 1, "{} at ({row}, {column})", form.text());
        }
    }
}

trait Sums {
    /// Whether its sums are f32.
    fn mnemonic_starts_with_float(&self) -> bool;
}

impl Sums for Mma {
    fn mnemonic_starts_with_float(&self) -> bool {
        self.text().contains(".row.col.f32")
    }
}

#[test]
fn products_of_matrices_are_exact_for_whole_numbers() {
    let float = |word: u32| f32::from_bits(word) as i32;
    let half = |bits: u32, k: u32| Layout { bits, k };
    let bf = |value: i32| u32::from(bf16::from_f32(value as f32).to_bits());
    let fp = |value: i32| u32::from(f16::from_f32(value as f32).to_bits());
    let tf = |value: i32| (value as f32).to_bits();
    let byte = |value: i32| (value & 0xff) as u32;
    let whole = |word: u32| word as i32;
    check_mma(Mma::F32Bf16K16, &half(16, 16), bf, float, true);
    check_mma(Mma::F32Bf16K8, &half(16, 8), bf, float, true);
    check_mma(Mma::F32F16K16, &half(16, 16), fp, float, true);
    check_mma(Mma::F32F16K8, &half(16, 8), fp, float, true);
    check_mma(Mma::F32Tf32K8, &half(32, 8), tf, float, true);
    check_mma(Mma::F32Tf32K4, &half(32, 4), tf, float, true);
    check_mma(Mma::S32S8K32, &half(8, 32), byte, whole, true);
    check_mma(Mma::S32S8K16, &half(8, 16), byte, whole, true);
    check_mma(Mma::S32U8K32, &half(8, 32), byte, whole, false);
    check_mma(Mma::S32U8S8K32, &half(8, 32), byte, whole, false);
}
