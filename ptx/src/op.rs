//! The closed set of instructions: what stands before the operands.
//!
//! One line of the table gives a form of instruction its name, its modifiers and its mnemonic; the enum,
//! its printer, its parser and the list of all forms are made from it. What operands a form takes is in
//! [`crate::signature`]: a new instruction is a line here and an arm there.
//!
//! Forms may share a mnemonic and differ in their operands (`bar.sync 0;` and `bar.sync 1, 128;`).

use crate::modifier::wgmma::Wgmma;
use crate::modifier::*;
use crate::piece::{Piece, after};
use crate::types::*;

/// Prints a literal or a field.
macro_rules! print_piece {
    ($out:ident, $word:literal) => {
        $out.push_str(concat!(".", $word))
    };
    ($out:ident, $field:ident) => {
        Piece::print($field, $out)
    };
}

/// Takes a literal, or a field into a variable of its name.
macro_rules! parse_piece {
    ($rest:ident, $word:literal) => {
        $rest = after($rest, $word)?;
    };
    ($rest:ident, $field:ident) => {
        let $field = Piece::parse(&mut $rest)?;
    };
}

/// Makes the instructions from their table.
macro_rules! ops {
    ($( $(#[$doc:meta])* $name:ident $({ $($field:ident : $ty:ty),+ })? = [$($piece:tt)+]; )+) => {
        /// What an instruction does, with all that its mnemonic says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the types of the fields say what they are")]
        pub enum Op { $( $(#[$doc])* $name $({ $($field: $ty),+ })? ),+ }

        impl Op {
            /// Appends the mnemonic, each word after a dot.
            #[allow(clippy::too_many_lines, reason = "one arm for each form")]
            fn print(&self, out: &mut String) {
                match self { $( Op::$name $({ $($field),+ })? => { $( print_piece!(out, $piece); )+ } )+ }
            }

            /// The forms that a mnemonic, each word after a dot, may be.
            #[allow(clippy::too_many_lines, reason = "one line for each form")]
            fn parse(text: &str) -> Vec<Op> {
                let readers: &[fn(&str) -> Option<Op>] = &[$( |text| {
                    let mut rest = text;
                    $( parse_piece!(rest, $piece); )+
                    rest.is_empty().then_some(Op::$name $({ $($field),+ })?)
                } ),+];
                readers.iter().filter_map(|read| read(text)).collect()
            }

            /// Every combination of modifiers of every form, also those that [`Op::signature`] refuses.
            #[allow(clippy::too_many_lines, reason = "one line for each form")]
            fn combinations() -> Vec<Op> {
                let mut all = Vec::new();
                $( ops!(@each all, $name { $($($field : $ty),+)? } {}); )+
                all
            }
        }
    };
    (@each $all:ident, $name:ident {} { $($field:ident),* }) => { $all.push(Op::$name { $($field),* }) };
    (@each $all:ident, $name:ident { $head:ident : $ty:ty $(, $rest:ident : $more:ty)* } { $($field:ident),* }) => {
        for $head in <$ty as Piece>::all() {
            ops!(@each $all, $name { $($rest : $more),* } { $($field,)* $head });
        }
    };
}

ops! {
    // Integers and bits.

    /// `d = a op b`; the division of integers rounds towards 0.
    IntBinary { op: IntOp, ty: Int } = [op ty];
    /// `d = |a|` or `d = -a`.
    IntSign { op: SignOp, ty: Signed } = [op ty];
    /// `d = a · b` in twice the width.
    MulWide { ty: Narrow } = ["mul.wide" ty];
    /// `d = half of (a · b) + c`.
    Mad { half: Half, ty: Int } = ["mad" half ty];
    /// `d = a · b + c` in twice the width.
    MadWide { ty: Narrow } = ["mad.wide" ty];
    /// `d = a op b`, bit by bit.
    Logic { op: LogicOp, ty: Logical } = [op ty];
    /// `d = ¬a`.
    Not { ty: Logical } = ["not" ty];
    /// `d = a << b`, 0 where `b` is the width or more.
    Shl { ty: Bits } = ["shl" ty];
    /// `d = a >> b`, which fills with the sign of signed types.
    Shr { ty: Int } = ["shr" ty];
    /// `d = how many bits of a`.
    Count { op: CountOp, ty: WideBits } = [op ty];
    /// `d` = the bits of `a` in reverse.
    Brev { ty: WideBits } = ["brev" ty];
    /// The highest bit of `a` that is not the sign, or −1.
    Bfind { mode: Bfind, ty: WideInt } = ["bfind" mode ty];
    /// `d` = `c` bits of `a` from bit `b` on.
    Bfe { ty: WideInt } = ["bfe" ty];
    /// `e` with its `b` bits from bit `c` on replaced: operands `d, a, e, c, b`.
    Bfi { ty: WideBits } = ["bfi" ty];
    /// Any function of three bits, by its table of 8 bits.
    Lop3 = ["lop3.b32"];
    /// Picks four of the eight bytes of `a` and `b`.
    Prmt = ["prmt.b32"];
    /// Shifts the 64 bits `b:a` and gives 32 of them.
    FunnelShift { direction: Direction, excess: Excess } = ["shf" direction excess "b32"];

    // Floats.

    /// `d = a op b`.
    FloatBinary { op: FloatOp, round: Round, flush: Flush, ty: Float } = [op round flush ty];
    /// `d` = the smaller or larger.
    Extreme { op: Extreme, flush: Flush, nan: Nan, ty: Float } = [op flush nan ty];
    /// `d = |a|` or `d = -a`.
    FloatSign { op: SignOp, flush: Flush, ty: Float } = [op flush ty];
    /// `d = a · b + c`, rounded once.
    Fma { round: Round, flush: Flush, ty: Float } = ["fma" round flush ty];
    /// `d = a / b`.
    Div { how: Division, flush: Flush, ty: Real } = ["div" how flush ty];
    /// `d = f(a)`.
    Function { f: Function, flush: Flush, ty: Float } = [f flush ty];
    /// `d` = `b` with the sign of `a`.
    Copysign { ty: Real } = ["copysign" ty];

    // Comparisons, choices, moves, conversions.

    /// `p = a cmp b`, combined with `q` where it says so.
    IntSetp { cmp: Compare, combine: Combine, ty: Int } = ["setp" cmp combine ty];
    /// `p = a cmp b`, combined with `q` where it says so.
    FloatSetp { cmp: FloatCompare, combine: Combine, flush: Flush, ty: Float } = ["setp" cmp combine flush ty];
    /// `d = p ? a : b`: operands `d, a, b, p`.
    Selp { ty: Scalar } = ["selp" ty];
    /// `d = a`, where `a` may be a special register, or a variable or parameter for its address.
    Mov { ty: Scalar } = ["mov" ty];
    /// `d = a` for predicates.
    MovPred = ["mov.pred"];
    /// `d = {low, high}` of half the width.
    Pack { ty: WideBits } = ["mov" ty];
    /// `{low, high} = a`.
    Unpack { ty: WideBits } = ["mov" ty];
    /// `d = a` as another type.
    Cvt { round: CvtRound, saturate: Saturate, to: Number, from: Number } = ["cvt" round saturate to from];
    /// Two f32, high half first, packed to the nearest: operands `d, high, low`.
    CvtPair { relu: Relu, to: Pair } = ["cvt.rn" relu to "f32"];
    /// Two f32, high half first, packed into 8 bits each, limited to what is finite.
    CvtPair8 { relu: Relu, to: Pair8 } = ["cvt.rn.satfinite" relu to "f32"];
    /// Two 8-bit floats widened to f16.
    CvtUnpair8 { relu: Relu, from: Pair8 } = ["cvt.rn" relu "f16x2" from];
    /// f32 rounded to tf32, ties away from 0.
    CvtTf32 = ["cvt.rna.tf32.f32"];
    /// An address made generic, or back.
    Cvta { toward: Toward, space: CvtaSpace } = ["cvta" toward space "u64"];

    // Memory.

    /// Loads a value or a vector.
    Ld { order: LoadOrder, space: Space, cache: LoadCache, lanes: Lanes, ty: Data } = ["ld" order space cache lanes ty];
    /// Stores a value or a vector.
    St { order: StoreOrder, space: Space, cache: StoreCache, lanes: Lanes, ty: Data } = ["st" order space cache lanes ty];
    /// `d` = what was there; memory gets the result.
    Atom { order: AtomOrder, space: Common, op: AtomOp, ty: Atomic } = ["atom" order space op ty];
    /// Compare and swap: operands `d, [a], expected, new`.
    AtomCas { order: AtomOrder, space: Common, ty: WideBits } = ["atom" order space "cas" ty];
    /// As [`Op::Atom`] without a result.
    Red { order: AtomOrder, space: Common, op: RedOp, ty: Atomic } = ["red" order space op ty];
    /// Adds a vector of f32 to global memory.
    RedVector { lanes: Lanes } = ["red.global" lanes "f32.add"];
    /// Fetches a line into a cache.
    PrefetchLine { level: Level } = ["prefetch.global" level];
    /// Orders memory as `bar.sync` would, without waiting.
    Membar { scope: MembarScope } = ["membar" scope];
    /// Orders memory.
    Fence { order: FenceOrder, scope: Scope } = ["fence" order scope];

    // Control and threads.

    /// Goes to a label.
    Bra { uniform: Uniform } = ["bra" uniform];
    /// Ends the thread.
    Ret = ["ret"];
    /// Ends the thread, in whatever function.
    Exit = ["exit"];
    /// Stops the kernel with an error.
    Trap = ["trap"];
    /// Sleeps for about so many nanoseconds.
    Nanosleep = ["nanosleep.u32"];
    /// Waits until all threads of the block have come to this barrier.
    BarSyncAll = ["bar.sync"];
    /// Waits until so many threads have come to this barrier: operands `barrier, threads`.
    BarSync = ["bar.sync"];
    /// Comes to a barrier without waiting: operands `barrier, threads`.
    BarArrive = ["bar.arrive"];
    /// Waits for the lanes of a mask.
    BarWarp = ["bar.warp.sync"];
    /// `d` = `a` of another lane: operands `d, a, lane or distance, clamp, mask`.
    Shfl { mode: Shuffle } = ["shfl.sync" mode "b32"];
    /// As [`Op::Shfl`], and whether that lane was in range: operands `d|p, …`.
    ShflIn { mode: Shuffle } = ["shfl.sync" mode "b32"];
    /// Asks about a predicate over the lanes of a mask: operands `p, q, mask`.
    Vote { mode: Vote } = ["vote.sync" mode "pred"];
    /// The lanes of a mask in which the predicate holds.
    Ballot = ["vote.sync.ballot.b32"];
    /// The active lanes.
    ActiveMask = ["activemask.b32"];
    /// The lanes of a mask that have the same value.
    MatchAny { ty: WideBits } = ["match.any.sync" ty];
    /// The mask where all its lanes have the same value, else 0, and whether they have: operands `d|p, a, mask`.
    MatchAll { ty: WideBits } = ["match.all.sync" ty];
    /// A reduction over the lanes of a mask.
    Redux { op: ReduxOp, ty: ReduxType } = ["redux.sync" op ty];
    /// Elects one lane of a mask: operands `lane|p, mask`.
    Elect = ["elect.sync"];

    // Tensor cores of sm_80 and what feeds them.

    /// Loads 8×8 matrices of 16-bit elements into fragments: lane `8·i + r` has the address of row `r` of matrix `i`.
    Ldmatrix { matrices: Matrices, transpose: Transpose } = ["ldmatrix.sync.aligned.m8n8" matrices transpose "shared.b16"];
    /// Stores what [`Op::Ldmatrix`] would load.
    Stmatrix { matrices: Matrices, transpose: Transpose } = ["stmatrix.sync.aligned.m8n8" matrices transpose "shared.b16"];
    /// Transposes one 8×8 matrix within a warp.
    Movmatrix = ["movmatrix.sync.aligned.m8n8.trans.b16"];
    /// `D = A · B + C` on fragments of a warp.
    Mma { form: Mma } = ["mma.sync.aligned" form];
    /// Copies from global to shared memory without waiting: operands `[to], [from], bytes`.
    CpAsync { cache: CopyCache, prefetch: Prefetch } = ["cp.async" cache "shared.global" prefetch];
    /// Copies so many bytes and fills the rest with zeros: operands `[to], [from], bytes, bytes read`.
    CpAsyncFill { cache: CopyCache, prefetch: Prefetch } = ["cp.async" cache "shared.global" prefetch];
    /// Closes a group of copies.
    CpAsyncCommit = ["cp.async.commit_group"];
    /// Waits until at most so many of the latest groups are under way.
    CpAsyncWait = ["cp.async.wait_group"];
    /// Waits for all copies.
    CpAsyncWaitAll = ["cp.async.wait_all"];

    // Barriers in memory.

    /// Makes 8 bytes of shared memory a barrier: operands `[barrier], arrivals of a phase`.
    MbarrierInit = ["mbarrier.init.shared::cta.b64"];
    /// Makes them plain memory again.
    MbarrierInval = ["mbarrier.inval.shared::cta.b64"];
    /// Arrives at a barrier: operands `state, [barrier]`.
    MbarrierArrive = ["mbarrier.arrive.shared::cta.b64"];
    /// As so many arrivals: operands `state, [barrier], count`.
    MbarrierArriveMany = ["mbarrier.arrive.shared::cta.b64"];
    /// Adds bytes to those that the phase awaits, then arrives: operands `state, [barrier], bytes`.
    MbarrierArriveExpect = ["mbarrier.arrive.expect_tx.shared::cta.b64"];
    /// Arrives at a barrier when all copies of [`Op::CpAsync`] of the thread so far have ended.
    CpAsyncArrive = ["cp.async.mbarrier.arrive.noinc.shared::cta.b64"];
    /// Whether the phase of this parity is over: operands `p, [barrier], parity`.
    MbarrierWait { how: PhaseWait } = ["mbarrier" how "parity.shared::cta.b64"];
    /// Makes barriers that were just made visible to copies.
    FenceMbarrierInit = ["fence.mbarrier_init.release.cluster"];
    /// Orders what instructions wrote before what asynchronous units do.
    FenceProxy { space: ProxySpace } = ["fence.proxy.async" space];

    // Copies of tensors of sm_90.

    /// Copies a box of a tensor to shared memory: operands `[to], [map, {coordinates}], [barrier]`.
    TensorLoad { rank: TensorRank } = ["cp.async.bulk.tensor" rank "shared::cluster.global.tile.mbarrier::complete_tx::bytes"];
    /// Copies from shared memory to a box of a tensor: operands `[map, {coordinates}], [from]`.
    TensorStore { rank: TensorRank } = ["cp.async.bulk.tensor" rank "global.shared::cta.tile.bulk_group"];
    /// Copies bytes, a multiple of 16, to shared memory: operands `[to], [from], bytes, [barrier]`.
    BulkLoad = ["cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"];
    /// Copies bytes, a multiple of 16, from shared memory: operands `[to], [from], bytes`.
    BulkStore = ["cp.async.bulk.global.shared::cta.bulk_group"];
    /// Adds numbers in shared memory to those in global memory: operands `[to], [from], bytes`.
    BulkAdd = ["cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32"];
    /// Closes a group of copies from shared memory.
    BulkCommit = ["cp.async.bulk.commit_group"];
    /// Waits until at most so many of the latest groups are under way.
    BulkWait { wait: BulkWait } = ["cp.async.bulk.wait_group" wait];
    /// Fetches a map of a tensor.
    PrefetchMap = ["prefetch.tensormap"];

    // Tensor cores of sm_90, which four warps use together.

    /// Orders registers before the products that follow.
    WgmmaFence = ["wgmma.fence.sync.aligned"];
    /// `D = A · B + scale · D` with both factors in shared memory: operands `D, A, B, scale, sign of A, sign of B`,
    /// then for 16-bit types whether A and B are transposed.
    WgmmaShared { form: Wgmma } = ["wgmma.mma_async.sync.aligned" form];
    /// The same with A in registers, which is never transposed.
    WgmmaMixed { form: Wgmma } = ["wgmma.mma_async.sync.aligned" form];
    /// Closes a group of products.
    WgmmaCommit = ["wgmma.commit_group.sync.aligned"];
    /// Waits until at most so many of the latest groups are under way.
    WgmmaWait = ["wgmma.wait_group.sync.aligned"];
    /// Changes the registers of a thread to so many.
    SetMaxRegisters { change: RegisterChange } = ["setmaxnreg" change "sync.aligned.u32"];
    /// Tells or awaits kernels launched around this one.
    GridDependency { what: Dependency } = ["griddepcontrol" what];
}

impl Op {
    /// The mnemonic: `fma.rn.f32`.
    pub fn mnemonic(&self) -> String {
        let mut text = String::new();
        self.print(&mut text);
        text.split_off(1)
    }

    /// The forms that are written with this mnemonic; none where there is no such instruction.
    pub fn from_mnemonic(mnemonic: &str) -> Vec<Op> {
        Op::parse(&format!(".{mnemonic}"))
    }

    /// Every instruction that there is, in the order of the table. Tests and emulators walk over it.
    pub fn all() -> Vec<Op> {
        Op::combinations().into_iter().filter(|op| op.signature().is_ok()).collect()
    }
}
