//! The words of mnemonics that are not types: which operation, how rounded, where in memory.

use crate::piece::pieces;

pieces! {
    /// Arithmetic on two integers; `mul.lo` and `mul.hi` are the halves of the product.
    IntOp {
        Add = "add", Sub = "sub", MulLo = "mul.lo", MulHi = "mul.hi", Div = "div", Rem = "rem",
        Min = "min", Max = "max",
    }
    /// Sign operations.
    SignOp { Abs = "abs", Neg = "neg" }
    /// Which half of a product.
    Half { Lo = "lo", Hi = "hi" }
    /// Operations on bits.
    LogicOp { And = "and", Or = "or", Xor = "xor" }
    /// Counts of bits: those that are set, those before the first that is set.
    CountOp { Popc = "popc", Clz = "clz" }
    /// What `bfind` gives: the position of the highest bit, or by how much to shift it to the top.
    Bfind { Position = "", Shift = "shiftamt" }
    /// The direction of a funnel shift.
    Direction { Left = "l", Right = "r" }
    /// What a funnel shift does with large counts.
    Excess { Wrap = "wrap", Clamp = "clamp" }

    /// Arithmetic on two floats.
    FloatOp { Add = "add", Sub = "sub", Mul = "mul" }
    /// The smaller or the larger of two floats.
    Extreme { Min = "min", Max = "max" }
    /// What the extreme of NaN and a number is.
    Nan { Number = "", NaN = "NaN" }
    /// How a result is rounded. Left out it is to the nearest, but ptxas may then fuse a product with a sum.
    Round { Any = "", Nearest = "rn", Zero = "rz", Down = "rm", Up = "rp" }
    /// How a conversion rounds: to a float, or to an integer (`i`).
    CvtRound {
        Exact = "", Nearest = "rn", Zero = "rz", Down = "rm", Up = "rp",
        NearestInt = "rni", ZeroInt = "rzi", DownInt = "rmi", UpInt = "rpi",
    }
    /// Whether subnormal operands and results become 0.
    Flush { Keep = "", Ftz = "ftz" }
    /// Whether a conversion is limited to the range of the result.
    Saturate { No = "", Sat = "sat" }
    /// Whether negative results become 0.
    Relu { No = "", Relu = "relu" }
    /// How a quotient is computed.
    Division { Approx = "approx", Full = "full", Nearest = "rn", Zero = "rz", Down = "rm", Up = "rp" }
    /// Functions of one float.
    Function {
        Ex2 = "ex2.approx", Lg2 = "lg2.approx", Rcp = "rcp.approx", Rsqrt = "rsqrt.approx",
        Sqrt = "sqrt.approx", Tanh = "tanh.approx", Sin = "sin.approx", Cos = "cos.approx",
        RcpExact = "rcp.rn", SqrtExact = "sqrt.rn",
    }

    /// Comparisons of integers.
    Compare { Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge" }
    /// Comparisons of floats; those with `u` also hold where an operand is NaN.
    FloatCompare {
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge",
        Equ = "equ", Neu = "neu", Ltu = "ltu", Leu = "leu", Gtu = "gtu", Geu = "geu",
        Ordered = "num", Unordered = "nan",
    }
    /// What a comparison is combined with, a further predicate.
    Combine { None = "", And = "and", Or = "or", Xor = "xor" }

    /// Where in memory. Generic addresses may be of any of these but parameters.
    Space { Generic = "", Param = "param", Global = "global", Shared = "shared", Local = "local" }
    /// Memory that atomic operations reach.
    Common { Global = "global", Shared = "shared" }
    /// How a load is ordered with other accesses.
    LoadOrder {
        Weak = "", Volatile = "volatile", RelaxedCta = "relaxed.cta", RelaxedGpu = "relaxed.gpu",
        RelaxedSys = "relaxed.sys", AcquireCta = "acquire.cta", AcquireGpu = "acquire.gpu",
        AcquireSys = "acquire.sys",
    }
    /// How a store is ordered with other accesses.
    StoreOrder {
        Weak = "", Volatile = "volatile", RelaxedCta = "relaxed.cta", RelaxedGpu = "relaxed.gpu",
        RelaxedSys = "relaxed.sys", ReleaseCta = "release.cta", ReleaseGpu = "release.gpu",
        ReleaseSys = "release.sys",
    }
    /// How an atomic operation is ordered with other accesses.
    AtomOrder {
        Default = "", RelaxedCta = "relaxed.cta", RelaxedGpu = "relaxed.gpu", AcquireGpu = "acquire.gpu",
        ReleaseGpu = "release.gpu", AcqRelGpu = "acq_rel.gpu",
    }
    /// What caches a load uses.
    LoadCache {
        Default = "", All = "ca", Global = "cg", Streaming = "cs", LastUse = "lu", Again = "cv",
        Constant = "nc", ConstantOnce = "nc.L1::no_allocate", ConstantOnce128 = "nc.L1::no_allocate.L2::128B",
        ConstantOnce256 = "nc.L1::no_allocate.L2::256B",
    }
    /// What caches a store uses.
    StoreCache { Default = "", Back = "wb", Global = "cg", Streaming = "cs", Through = "wt" }
    /// How many elements an access moves.
    Lanes { One = "", Two = "v2", Four = "v4" }
    /// What an atomic operation does.
    AtomOp {
        Add = "add", Min = "min", Max = "max", And = "and", Or = "or", Xor = "xor", Exch = "exch",
    }
    /// What `red` does: an atomic operation without a result.
    RedOp { Add = "add", Min = "min", Max = "max", And = "and", Or = "or", Xor = "xor" }
    /// What a `redux` computes over a warp.
    ReduxOp { Add = "add", Min = "min", Max = "max", And = "and", Or = "or", Xor = "xor" }
    /// The type of a `redux`.
    ReduxType { U32 = "u32", S32 = "s32", B32 = "b32" }
    /// Whom a fence orders memory for.
    Scope { Cta = "cta", Gpu = "gpu", Sys = "sys" }
    /// Whom `membar` orders memory for.
    MembarScope { Cta = "cta", Gpu = "gl", Sys = "sys" }
    /// How strong a fence is.
    FenceOrder { SequentiallyConsistent = "sc", AcqRel = "acq_rel" }

    /// Whether all active threads branch alike.
    Uniform { No = "", Uni = "uni" }
    /// Which lane a shuffle reads.
    Shuffle { Up = "up", Down = "down", Bfly = "bfly", Idx = "idx" }
    /// What a vote asks.
    Vote { All = "all", Any = "any", Uni = "uni" }

    /// How many 8×8 matrices.
    Matrices { X1 = "x1", X2 = "x2", X4 = "x4" }
    /// Whether matrices are transposed on the way.
    Transpose { No = "", Trans = "trans" }
    /// A form of `mma.sync`: shape, layouts, and the types of D, A, B and C.
    Mma {
        F32Bf16K16 = "m16n8k16.row.col.f32.bf16.bf16.f32", F32F16K16 = "m16n8k16.row.col.f32.f16.f16.f32",
        F16F16K16 = "m16n8k16.row.col.f16.f16.f16.f16",
        F32Bf16K8 = "m16n8k8.row.col.f32.bf16.bf16.f32", F32F16K8 = "m16n8k8.row.col.f32.f16.f16.f32",
        F32Tf32K8 = "m16n8k8.row.col.f32.tf32.tf32.f32", F32Tf32K4 = "m16n8k4.row.col.f32.tf32.tf32.f32",
        S32S8K32 = "m16n8k32.row.col.s32.s8.s8.s32", S32S8K16 = "m16n8k16.row.col.s32.s8.s8.s32",
        S32U8S8K32 = "m16n8k32.row.col.s32.u8.s8.s32", S32U8K32 = "m16n8k32.row.col.s32.u8.u8.s32",
        F64K4 = "m8n8k4.row.col.f64.f64.f64.f64",
    }
    /// What caches a `cp.async` uses: all levels (4, 8 or 16 bytes), or the second only (16 bytes).
    CopyCache { All = "ca", Global = "cg" }
    /// How much more the second level of cache fetches.
    Prefetch { None = "", B64 = "L2::64B", B128 = "L2::128B", B256 = "L2::256B" }
    /// Whether a wait for a phase may suspend the thread, or only asks.
    PhaseWait { Try = "try_wait", Test = "test_wait" }
    /// The ranks of a tensor in global memory.
    TensorRank { R1 = "1d", R2 = "2d", R3 = "3d", R4 = "4d", R5 = "5d" }
    /// What copies a wait is for: those that are done, or those that have read their source.
    BulkWait { Done = "", Read = "read" }
    /// What a proxy fence is for.
    ProxySpace { All = "", Shared = "shared::cta", Global = "global" }
    /// Whether a warp gives registers back or takes more.
    RegisterChange { Inc = "inc", Dec = "dec" }
    /// What a kernel tells, or awaits of, those launched around it.
    Dependency { Launch = "launch_dependents", Wait = "wait" }
    /// A level of cache.
    Level { L1 = "L1", L2 = "L2" }
    /// The direction of `cvta`: from a space to generic addresses, or back.
    Toward { Generic = "", Space = "to" }
    /// A space that `cvta` knows.
    CvtaSpace { Global = "global", Shared = "shared", Local = "local", Param = "param" }
}

pub mod wgmma;

/// Special registers.
pub mod special {
    use crate::piece::pieces;

    pieces! {
        /// A read-only register of the machine, without its `%`.
        Special {
            TidX = "tid.x", TidY = "tid.y", TidZ = "tid.z",
            NtidX = "ntid.x", NtidY = "ntid.y", NtidZ = "ntid.z",
            CtaidX = "ctaid.x", CtaidY = "ctaid.y", CtaidZ = "ctaid.z",
            NctaidX = "nctaid.x", NctaidY = "nctaid.y", NctaidZ = "nctaid.z",
            LaneId = "laneid", WarpId = "warpid", SmId = "smid", NsmId = "nsmid",
            LanemaskLt = "lanemask_lt", LanemaskLe = "lanemask_le", LanemaskEq = "lanemask_eq",
            LanemaskGe = "lanemask_ge", LanemaskGt = "lanemask_gt",
            ClusterCtaRank = "cluster_ctarank", ClusterNctaRank = "cluster_nctarank",
            ClusterIdX = "clusterid.x", ClusterCtaidX = "cluster_ctaid.x",
            DynamicSmemSize = "dynamic_smem_size", TotalSmemSize = "total_smem_size",
            Clock = "clock", Clock64 = "clock64", GlobalTimer = "globaltimer",
        }
    }

    impl Special {
        /// The bits that it holds: 32, but for two of the clocks.
        pub fn bits(self) -> u32 {
            if matches!(self, Special::Clock64 | Special::GlobalTimer) { 64 } else { 32 }
        }
    }
}
