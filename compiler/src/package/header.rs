//! The kernels of an object to a C header: a struct of arguments and six prototypes for each.
//!
//! ```c
//! typedef struct attnc_scale_args {
//!     int64_t n; /* rank 0 */
//!     const float *X; int64_t X_stride[1]; /* tensor 0, input f32 [n] */
//!     ...
//! } attnc_scale_args;
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;

use attnc_runtime::manifest::{Extent, KernelInfo, ParamInfo, RankInfo, Role, TensorInfo};
use attnc_runtime::{DType, Kind};

use super::Object;

/// The text of `STEM.h`.
pub(super) fn header(object: &Object, stem: &str) -> String {
    let guard: String = stem.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect();
    let guard = format!("ATTNC_{}_H", guard.to_ascii_uppercase());
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "/* The kernels of {}.attn for {}, made by attnc {version}. */\n#ifndef {guard}\n#define {guard}\n\n",
        comment(stem),
        object.target
    );
    text.push_str(PROLOGUE);
    for info in &object.kernels {
        text.push_str(&kernel(info));
        let rest = if object.ptx.is_some() { LAUNCHED } else { RUNNING };
        text.push_str(&rest.replace("NAME", &info.symbol).replace("STEM", &comment(stem)));
        let teams = info.teams.iter().enumerate().filter(|it| *it.1 > 0);
        text.extend(teams.map(|(stage, threads)| {
            TEAM.replace("THREADS", &threads.to_string()).replace("STAGE", &stage.to_string())
        }));
    }
    text.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
    text
}

const PROLOGUE: &str = r#"#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef ATTNC_STATUS
#define ATTNC_STATUS
/* What a function returns: one of these in the low byte, above it the index of a tensor or rank. */
enum attnc_status {
    ATTNC_DONE = 0,
    ATTNC_NULL_POINTER = 1,     /* tensor; the number of tensors stands for the workspace */
    ATTNC_BAD_EXTENT = 2,       /* rank: negative, or over its declared bound */
    ATTNC_EXTENTS_DISAGREE = 3, /* rank */
    ATTNC_OVERLAP = 4,          /* tensor: an output overlaps another tensor or itself */
    ATTNC_BAD_WORKSPACE = 5,    /* too small, or not aligned to 64 bytes */
    ATTNC_NO_SUCH_TASK = 6,     /* nor stage */
    ATTNC_TOO_LARGE = 7,        /* tensor or workspace: beyond 2^63 bytes */
    ATTNC_MISALIGNED = 8        /* tensor: not aligned to its element */
};
#define ATTNC_CODE(status) ((status) & 0xff)
#define ATTNC_INDEX(status) ((int32_t)((uint32_t)(status) >> 8))
#endif
"#;

fn kernel(info: &KernelInfo) -> String {
    let symbol = &info.symbol;
    let mut text = format!("\n/* {}\n", comment(&info.name));
    for line in info.docs.lines() {
        let _ = writeln!(text, "   {}", comment(line));
    }
    let others = info.ranks.iter().enumerate().filter_map(extent_line).chain(fixed_lines(&info.params));
    others.for_each(|it| text.push_str(&it));
    let _ = writeln!(text, "   workspace: {} */", comment(&info.workspace));
    let _ = writeln!(text, "typedef struct {symbol}_args {{");
    fields(info).iter().for_each(|it| text.push_str(it));
    let _ = writeln!(text, "}} {symbol}_args;");
    let (ranks, params, stages) = (info.ranks.len(), info.params.len(), info.stages);
    let _ = writeln!(
        text,
        "enum {{ {symbol}_ranks = {ranks}, {symbol}_params = {params}, {symbol}_stages = {stages} }};"
    );
    text + &PROTOTYPES.replace("NAME", symbol)
}

const PROTOTYPES: &str = r#"
/* Checks that the extents fit each other, stores the default of each parameter p with given[p] == 0
   (given == NULL: none) and writes the extent of each rank to extents (unless NULL). */
int32_t NAME_bind(NAME_args *args, const uint8_t *given, int64_t *extents);
/* The bytes of workspace that the call needs on so many threads; UINT64_MAX if that overflows. */
uint64_t NAME_workspace(const NAME_args *args, uint32_t threads);
/* Checks extents, pointers, alignment, overlaps and the workspace. */
int32_t NAME_check(const NAME_args *args, const void *workspace, uint64_t bytes, uint32_t threads);
/* The number of tasks of a stage. */
uint64_t NAME_tasks(const NAME_args *args, uint32_t stage);
"#;

/// Of kernels whose stages run where these functions do.
const RUNNING: &str = r#"/* Runs tasks first to last - 1 of a stage. Stages run in order, the tasks of one at will, at most one call at a
   time with the same thread, which is below the number of threads that the workspace is for. */
int32_t NAME_run(const NAME_args *args, void *workspace, uint32_t thread, uint32_t stage, uint64_t first,
                 uint64_t last);
/* Checks, and runs all on this thread, with a workspace for one. */
int32_t NAME(const NAME_args *args, void *workspace, uint64_t bytes);
"#;

/// Of kernels whose stages run on a GPU.
const LAUNCHED: &str = r#"/* The stages are the entries NAME_stage_0, NAME_stage_1 ... of STEM.ptx, to be launched in that order in blocks of
   at most 128 threads along x. Each takes the arguments by value with addresses and strides on the device, the
   address of a workspace for as many threads as are launched, and the number of tasks of the stage, a uint64_t.
   Entries NAME_stage_0_maps ... take maps of tensors, too, and do the same; `mapped` in the manifest describes them. */
"#;

/// Of a stage of which blocks run tasks.
const TEAM: &str =
    "/* A block of THREADS threads runs a task of stage STAGE, which takes no other number. */\n";

/// What is to be said of a rank that has no word.
fn extent_line((idx, rank): (usize, &RankInfo)) -> Option<String> {
    match &rank.extent {
        Extent::Word(_) => None,
        Extent::Fixed(it) => Some(format!("   rank {idx}: {} = {it}\n", rank.name)),
        Extent::Derived(it) => Some(format!("   rank {idx}: {} = {}\n", rank.name, comment(it))),
    }
}

fn fixed_lines(params: &[ParamInfo]) -> impl Iterator<Item = String> {
    let fixed = params.iter().enumerate().filter_map(|(idx, it)| Some((idx, it, it.fixed?)));
    fixed.map(|(idx, it, value)| format!("   parameter {idx}: {} = {value}, fixed\n", it.name))
}

/// The fields of the struct, in the order of their words.
fn fields(info: &KernelInfo) -> Vec<String> {
    let mut names = Names::default();
    let mut fields = Vec::new();
    for (idx, rank) in info.ranks.iter().enumerate() {
        if let Extent::Word(word) = rank.extent {
            let bound = rank.bound.map_or(String::new(), |it| format!(", at most {it}"));
            fields
                .push((word, format!("    int64_t {}; /* rank {idx}{bound} */\n", names.field(&rank.name))));
        }
    }
    for (idx, param) in info.params.iter().enumerate() {
        let Some(word) = param.word else { continue };
        let ctype = match param.dtype.kind() {
            Kind::Real => "double",
            Kind::Int | Kind::Bool => "int64_t",
        };
        let default = param.default.as_ref().map_or(String::new(), |it| format!(" = {}", comment(it)));
        let name = names.field(&param.name);
        fields.push((word, format!("    {ctype} {name}; /* parameter {idx}, {}{default} */\n", param.dtype)));
    }
    let tensors: Vec<_> = info.tensors.iter().map(|it| (it, names.field(&it.name))).collect();
    for (idx, (tensor, name)) in tensors.into_iter().enumerate() {
        let strides = match tensor.dims.len() {
            0 => String::new(),
            n => format!(" int64_t {}[{n}];", names.field(&format!("{name}_stride"))),
        };
        fields.push((
            tensor.word,
            format!("    {}{name};{strides} /* tensor {idx}, {} */\n", pointer(tensor), about(tensor)),
        ));
    }
    fields.sort_by_key(|it| it.0);
    fields.into_iter().map(|it| it.1).collect()
}

fn about(tensor: &TensorInfo) -> String {
    let dims: Vec<_> = tensor.dims.iter().map(ToString::to_string).collect();
    format!("{} {} [{}]", tensor.role, tensor.dtype, dims.join(", "))
}

fn pointer(tensor: &TensorInfo) -> String {
    let element = match tensor.dtype {
        DType::F64 => "double",
        DType::F32 => "float",
        DType::F16 | DType::BF16 => "uint16_t",
        DType::F8E4M3 | DType::F8E5M2 | DType::U8 | DType::Bool => "uint8_t",
        DType::I64 => "int64_t",
        DType::I32 => "int32_t",
        DType::I16 => "int16_t",
        DType::I8 | DType::I4 => "int8_t",
    };
    match tensor.role {
        Role::Input => format!("const {element} *"),
        Role::Output => format!("{element} *"),
    }
}

/// Text that does not end the comment it stands in, nor seems to begin another.
fn comment(text: &str) -> String {
    text.replace("*/", "* /").replace("/*", "/ *")
}

/// The fields that a struct has so far.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// A field of that name, with underscores after it where C or another field has the name.
    fn field(&mut self, name: &str) -> String {
        let mut name = name.to_owned();
        while RESERVED.contains(&name.as_str()) || !self.0.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

/// Words of C and C++, the types used here, and what compilers define as macros.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch",
    "char", "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield", "compl", "concept",
    "const", "const_cast", "consteval", "constexpr", "constinit", "continue", "decltype", "default", "delete", "do",
    "double", "dynamic_cast", "else", "enum", "errno", "explicit", "export", "extern", "false", "float", "for",
    "friend", "goto", "i386", "if", "inline", "int", "int16_t", "int32_t", "int64_t", "int8_t", "linux", "long",
    "mutable", "namespace", "new", "noexcept", "not", "not_eq", "NULL", "nullptr", "operator", "or", "or_eq",
    "private", "protected", "public", "register", "reinterpret_cast", "requires", "restrict", "return", "short",
    "signed", "sizeof", "static", "static_assert", "static_cast", "struct", "switch", "template", "this",
    "thread_local", "throw", "true", "try", "typedef", "typeid", "typename", "typeof", "typeof_unqual", "uint16_t",
    "uint64_t", "uint8_t", "union", "unix", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while",
    "xor", "xor_eq",
];
