//! What is found in wrong kernels, and how it is said.

use attnc_runtime::emulator::{Args, DeviceMemory, Launch, Program, Schedule};

use crate::text::{check_fault, run, run_under};

#[test]
fn a_fault_says_which_instruction_thread_and_address() {
    let fault = run_under("add.u32 %r0, %r1, 1;", 64, Schedule::RoundRobin).expect_err("a wrong kernel");
    assert_eq!(
        fault.to_string(),
        "kernel `f`, `add.u32 %r0, %r1, 1` at pc 6, block (0, 0, 0), warp 0, lane 0, thread (0, 0, 0): \
         register `%r1` is read before it is written"
    );
}

#[test]
fn a_register_that_some_lanes_wrote_is_not_written_in_others() {
    let body = "setp.lt.u32 %p0, %lane, 4; @%p0 mov.u32 %r1, 1;";
    check_fault(&format!("{body} add.u32 %r0, %r1, 1;"), 32, "lane 4, thread (4, 0, 0): register `%r1`");
    run(&format!("{body} @%p0 add.u32 %r0, %r1, 1;"), 32);
}

#[test]
fn global_accesses_stay_in_buffers_that_are_written_and_aligned() {
    check_fault("ld.global.u32 %r0, [%d0+256];", 32, "it is 256 bytes into `x`, which has 256");
    check_fault("st.global.u32 [%d0+-4], %tx;", 32, "the first buffer, `x`, is at");
    check_fault("ld.global.u32 %r0, [%d0+2];", 32, "is no multiple of 4");
    check_fault("ld.global.v2.f32 {%f0, %f1}, [%d0];", 32, "lane 1, thread (1, 0, 0): global address");
    check_fault("mov.u64 %d1, 0; ld.global.u32 %r0, [%d1];", 32, "4 bytes at global address 0x0");
    // The second buffer starts 66 048 bytes after the first.
    check_fault("ld.global.u32 %r0, [%d0+66048];", 8, "(byte 0 of `fresh`) is read before it is written");
}

#[test]
fn shared_and_local_accesses_are_checked_alike() {
    check_fault("mov.u32 %r0, tile; ld.shared.u32 %r1, [%r0];", 32, "is read before it is written");
    check_fault("mov.u32 %r0, tile; st.shared.u32 [%r0+4096], %tx;", 32, "outside of memory");
    check_fault("mov.u32 %r0, 0; st.shared.u32 [%r0], %tx;", 32, "the block has 0x400 to 0x1400");
    check_fault("mov.u32 %r0, tile; st.shared.u32 [%r0+2], %tx;", 32, "is no multiple of 4");
    check_fault("ld.local.u32 %r0, [stack];", 32, "local address 0x0 (a variable of the thread)");
    check_fault("st.local.u32 [stack+16], %tx;", 32, "a thread has 16 bytes");
}

#[test]
fn an_access_that_no_barrier_orders_is_a_race() {
    let write = "mov.u32 %r0, tile; add.u32 %r1, %r0, %s; st.shared.u32 [%r1], %tx;";
    let read =
        "xor.b32 %r2, %s, 128; add.u32 %r2, %r2, %r0; ld.shared.u32 %r3, [%r2]; st.global.u32 [%d0], %r3;";
    let right = run(&format!("{write} bar.sync 0; {read}"), 64);
    assert!(right.iter().enumerate().all(|(at, word)| *word == at as u32 ^ 32));
    // Whether it reads too early or the other writes too late, it is an error.
    let fault = run_under(&format!("{write} {read}"), 64, Schedule::Random(1)).expect_err("a race");
    assert!(fault.to_string().contains("before it is written"), "{fault}");
    check_fault(&format!("{write} bar.sync 0; {read} {write}"), 64, "nothing orders this access and");
    check_fault(
        &format!("{write} {write} add.u32 %r0, %r0, 4; st.shared.u32 [%r0], %tx;"),
        64,
        "nothing orders",
    );
}

#[test]
fn atomics_do_not_race_with_each_other() {
    let start = "mov.u32 %r0, tile; setp.eq.u32 %p0, %tx, 0; @%p0 st.shared.u32 [%r0], 0; bar.sync 0;";
    let add = "atom.shared.add.u32 %r1, [%r0], 1;";
    let end = "ld.shared.u32 %r2, [%r0]; st.global.u32 [%d0], %r2;";
    assert!(run(&format!("{start} {add} bar.sync 0; {end}"), 128).iter().all(|word| *word == 128));
    check_fault(&format!("{start} {add} {end}"), 128, "nothing orders");
}

#[test]
fn a_flag_orders_what_it_releases() {
    let head = "mov.u32 %r0, tile; setp.eq.u32 %p0, %tx, 0; @%p0 st.shared.u32 [%r0], 0; bar.sync 0;
        setp.lt.u32 %p1, %tx, 32; @!%p1 bra $wait;
        st.shared.u32 [%r0+16], 7; ";
    let wait = "bra $end;
        $wait: ld.acquire.cta.shared.u32 %r1, [%r0]; setp.eq.u32 %p2, %r1, 0; @%p2 bra $wait;
        ld.shared.u32 %r2, [%r0+16]; st.global.u32 [%d0], %r2; $end:";
    let words = run(&format!("{head} st.release.cta.shared.u32 [%r0], 1; {wait}"), 64);
    assert_eq!((words[0], words[40]), (0, 7));
    let fence = "membar.cta; st.volatile.shared.u32 [%r0], 1;";
    assert_eq!(run(&format!("{head} {fence} {wait}"), 64)[40], 7);
    check_fault(&format!("{head} st.relaxed.cta.shared.u32 [%r0], 1; {wait}"), 64, "nothing orders");
}

#[test]
fn copies_are_waited_for() {
    let copy = "mov.u32 %r0, tile; add.u32 %r1, %r0, %s; cp.async.ca.shared.global [%r1], [%d0], 4;";
    let read = "ld.shared.u32 %r2, [%r1]; add.u32 %r2, %r2, 1; st.global.u32 [%d0], %r2;";
    let done = "cp.async.commit_group; cp.async.wait_group 0;";
    assert_eq!(run(&format!("{copy} {done} {read}"), 64)[5], 6);
    assert_eq!(run(&format!("{copy} cp.async.wait_all; {read}"), 64)[5], 6);
    let under_way = "is touched while `cp.async.ca.shared.global [%r1], [%d0], 4` of warp 0 is under way";
    check_fault(&format!("{copy} {read}"), 32, under_way);
    check_fault(&format!("{copy} cp.async.commit_group; {read}"), 32, under_way);
    check_fault(&format!("{copy} cp.async.commit_group; cp.async.wait_group 1; {read}"), 32, under_way);
    check_fault(&format!("{copy} cp.async.wait_group 0; {read}"), 32, under_way);
    // What another warp has waited for still needs a barrier.
    let other = read.replace("[%r1]", "[%r3]");
    let turned = "xor.b32 %r3, %s, 128; add.u32 %r3, %r3, %r0;";
    run(&format!("{copy} {done} bar.sync 0; {turned} {other}"), 64);
    let fault = run_under(&format!("{copy} {done} {turned} {other}"), 64, Schedule::RoundRobin);
    assert!(fault.expect_err("a race").to_string().contains("before it is written"));
    let fill = "mov.u32 %r4, 2; cp.async.ca.shared.global [%r1], [%d0], 4, %r4;";
    let words = run(&format!("{copy} {done} mov.u32 %r1, %r1; {fill} {done} {read}"), 64);
    assert_eq!(words[9], 10);
}

#[test]
fn barriers_need_all_that_they_are_for() {
    let two = "setp.lt.u32 %p0, %tx, 32; @%p0 bra $end;";
    // A warp that has ended is not waited for.
    run(&format!("{two} bar.sync 0; $end:"), 96);
    check_fault(&format!("{two} bar.sync 1, 128; $end:"), 96, "barrier 1 has seen 64 of 128 threads");
    check_fault(
        "setp.lt.u32 %p0, %lane, 7; @%p0 bra $end; bar.sync 0; $end: mov.u32 %r0, 1;",
        32,
        "0x0000007f",
    );
    check_fault(
        "setp.lt.u32 %p0, %lane, 7; @%p0 bar.sync 0;",
        64,
        "do not run this instruction with the others",
    );
    check_fault("bar.sync 1, 40;", 64, "40 threads are no whole number of warps");
    check_fault("bar.sync 1, 32;  bar.sync 0; bar.arrive 1, 64; bar.arrive 1, 96;", 64, "elsewhere for 64");
    // One warp gives, the other takes.
    let handed = "mov.u32 %r0, tile; setp.ge.u32 %p0, %tx, 32; @%p0 bra $take;
        shl.b32 %r1, %lane, 2; add.u32 %r1, %r1, %r0; st.shared.u32 [%r1], 5; bar.arrive 1, 64; bra $end;
        $take: bar.sync 1, 64; ld.shared.u32 %r2, [%r0]; st.global.u32 [%d0], %r2; $end:";
    assert_eq!(run(handed, 64)[33], 5);
}

#[test]
fn all_warps_that_wait_are_a_deadlock() {
    let body = "setp.lt.u32 %p0, %tx, 32; @%p0 bra $one; bar.sync 1, 64; $one: bar.sync 2, 64;";
    let fault = run_under(body, 64, Schedule::RoundRobin).expect_err("a deadlock");
    assert_eq!(
        fault.to_string(),
        "kernel `f`: all warps wait:\n  \
         warp 0, lanes 0xffffffff, pc 9 `bar.sync 2, 64`: barrier 2 has seen 32 of 64 threads\n  \
         warp 1, lanes 0xffffffff, pc 8 `bar.sync 1, 64`: barrier 1 has seen 32 of 64 threads"
    );
}

#[test]
fn loops_without_end_and_traps_are_reported() {
    check_fault("$l: bra $l;", 32, "not at an end after 100000 instructions of warps");
    check_fault("trap;", 32, "the kernel trapped");
}

#[test]
fn lanes_that_part_meet_again() {
    let body = "and.b32 %r0, %lane, 3; mov.u32 %r1, 0;
        $l: add.u32 %r1, %r1, 1; setp.lt.u32 %p0, %r1, %r0; @%p0 bra $l;
        activemask.b32 %r2; setp.eq.u32 %p1, %r2, -1; @!%p1 trap;
        st.global.u32 [%d0], %r1;";
    assert_eq!(run(body, 32)[..8], [1, 1, 2, 3, 1, 1, 2, 3]);
}

#[test]
fn a_launch_has_to_fit_its_kernel() {
    let text = ".version 8.0 .target sm_80 .address_size 64
        .visible .entry f(.param .u64 x, .param .u32 n) .maxntid 64, 1, 1 { ret; }";
    let program = Program::parse(text).expect("a module");
    let mut memory = DeviceMemory::new();
    let mut say = |kernel: &str, launch: Launch| {
        program.launch(kernel, &launch, &mut memory).expect_err("a wrong launch").to_string()
    };
    let args = Args::new().u64(0).u32(0);
    let launch = |threads| Launch::new([1, 1, 1], [threads, 1, 1], args.clone());
    assert_eq!(say("g", launch(32)), "kernel `g`: the module has no such kernel; it has f");
    assert!(say("f", launch(65)).contains("has more than `.maxntid` [64, 1, 1]"));
    assert!(say("f", launch(2048)).contains("has none or more than 1024"));
    assert!(say("f", launch(32).shared(1 << 20)).contains("bytes of shared memory, more than 232448"));
    let short = Launch::new([1, 1, 1], [32, 1, 1], Args::new().u64(0));
    assert!(say("f", short).contains("it takes 2 arguments, found 1"));
    let wrong = Launch::new([1, 1, 1], [32, 1, 1], Args::new().u64(0).u64(0));
    assert!(say("f", wrong).contains("parameter `n` has 4 bytes, found 8"));
}

#[test]
fn barriers_in_memory_count_copies_of_both_kinds() {
    // 32 lanes copy a word each, and every lane's copy is one arrival; 128 bytes come in one piece beside.
    let head = "mov.u32 %r0, tile; setp.eq.u32 %p0, %tx, 0; @!%p0 bra $made;
        mbarrier.init.shared::cta.b64 [%r0+512], 33; fence.mbarrier_init.release.cluster; $made: bar.sync 0;
        add.u32 %r1, %r0, %s;";
    let arrive = "cp.async.ca.shared.global [%r1], [%d0], 4; cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r0+512];
        @%p0 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r0+512], 128;
        @%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0+128], [%x], 128, [%r0+512];";
    let wait = "$w: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r0+512], 0; @!%p1 bra $w;";
    let sum = "ld.shared.u32 %r2, [%r1]; ld.shared.u32 %r3, [%r1+128]; add.u32 %r2, %r2, %r3; st.global.u32 [%d0], %r2;";
    for schedule in [Schedule::RoundRobin, Schedule::Random(5), Schedule::Adversarial(2)] {
        let words = run_under(&format!("{head} {arrive} {wait} {sum}"), 32, schedule);
        assert_eq!(words.unwrap_or_else(|fault| panic!("{fault}"))[7], 14);
    }
    check_fault(&format!("{head} {arrive} {sum}"), 32, "is under way");
    let late = arrive.replace("128, [%r0+512]", "64, [%r0+512]");
    check_fault(&format!("{head} {late} {wait}"), 32, "awaits 0 of 33 arrivals and 64 bytes");
    check_fault(
        &format!("{head} @%p0 mbarrier.arrive.shared::cta.b64 _, [%r0+520];"),
        32,
        "before it is written",
    );
    check_fault(
        &format!("{head} mbarrier.arrive.shared::cta.b64 _, [%r0+512], 2;"),
        32,
        "more than 33 arrivals",
    );
}

#[test]
fn copies_come_after_what_instructions_did_where_they_go() {
    // A warp touches words; then another has a copy of them begun and waits for it.
    let body = |touch: &str, before: &str, after: &str, own: &str| {
        format!(
            "mov.u32 %r0, tile; setp.eq.u32 %p0, %tx, 0; @!%p0 bra $made; mbarrier.init.shared::cta.b64 [%r0+512], 1;
            fence.mbarrier_init.release.cluster; $made: setp.lt.u32 %p2, %tx, 32; add.u32 %r1, %r0, %s; st.shared.u32 [%r1], 0;
            fence.proxy.async.shared::cta; bar.sync 0; @%p2 bra $on; {touch} {before} $on: bar.sync 0;
            @%p2 bra $copy; {after} bra $done; $copy: {own} @!%p0 bra $wait;
            mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r0+512], 128;
            cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0+128], [%x], 128, [%r0+512];
            $wait: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r0+512], 0; @!%p1 bra $wait; $done: bar.sync 0;"
        )
    };
    let fence = "fence.proxy.async.shared::cta;";
    for touch in ["ld.shared.u32 %r2, [%r1];", "st.shared.u32 [%r1], 1;"] {
        run(&body(touch, fence, "", ""), 64);
        run(&body(touch, "", "", fence), 64);
        check_fault(&body(touch, "", "", ""), 64, "and no fence.proxy.async follows");
        check_fault(&body(touch, "", fence, ""), 64, "and no fence.proxy.async follows");
    }
}

#[test]
fn numbers_are_added_to_global_memory_in_one_piece() {
    let body = |fence: &str, wait: &str| {
        format!(
            "mov.u32 %r0, tile; add.u32 %r1, %r0, %s; cvt.rn.f32.u32 %f0, %lane; st.shared.f32 [%r1], %f0;
            mov.f32 %f1, 0f3F800000; st.global.f32 [%d0], %f1; {fence} bar.sync 0; setp.eq.u32 %p0, %tx, 0;
            @%p0 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%x], [%r0], 128;
            @%p0 cp.async.bulk.commit_group; {wait} bar.sync 0; st.shared.f32 [%r1], %f1;"
        )
    };
    let (fence, wait) = ("fence.proxy.async.shared::cta;", "@%p0 cp.async.bulk.wait_group.read 0;");
    assert_eq!(f32::from_bits(run(&body(fence, wait), 32)[9]), 10.0);
    check_fault(&body("", wait), 32, "and no fence.proxy.async follows");
    check_fault(&body(fence, ""), 32, "nothing orders this access and");
}

#[test]
fn sums_under_way_are_no_factors() {
    // The tile is zeros, seen by the tensor core after a fence; all its parts are the same eight rows.
    let zeros =
        "mov.u32 %r0, tile; add.u32 %r1, %r0, %s; st.shared.u32 [%r1], 0; fence.proxy.async; bar.sync 0;
        shr.u32 %r2, %r0, 4; cvt.u64.u32 %d1, %r2; mov.u64 %d2, -4611686018427322368; or.b64 %d1, %d1, %d2;
        setp.eq.u32 %p0, %r0, 0; wgmma.fence.sync.aligned;";
    let product = |sums: &str, factor: &str| {
        format!(
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{{sums}}}, {factor}, %d1, %p0, 1, 1, 0{};",
            if factor.starts_with('{') { "" } else { ", 0" }
        )
    };
    let first = product("%f0, %f1, %f2, %f3", "%d1");
    let done = "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;";
    let second = product("%f4, %f5, %f6, %f7", "{%f0, %f1, %f2, %f3}");
    run(&format!("{zeros} {first} {done} wgmma.fence.sync.aligned; {second} {done}"), 128);
    check_fault(
        &format!("{zeros} {first} {second} {done}"),
        128,
        "register `%f0` is touched while `wgmma.mma_async",
    );
}
