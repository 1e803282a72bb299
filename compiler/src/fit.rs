//! Kernels whose register tiles fit: where the machine code keeps sums of a hot loop in memory, for LLVM gives some
//! registers to values that live longer, the kernel is tiled again with fewer rows in a strip.
//!
//! Only the tiles of a machine are changed so. Who gives a mapping gets it, and `explore --measure` ranks it.

use crate::codegen::{self, Backend, CodegenError};
use crate::driver::plan;
use crate::ir::cascade::Cascade;
use crate::ir::nest::Nest;
use crate::schedule::{Mapping, Plan};
use crate::target::{Target, Tiles};
use crate::tile::tile;

/// A kernel of fewer rows in a strip reads what it multiplies more often than registers are worth.
const FEWEST_ROWS: u32 = 3;

/// A kernel as a tile program, and how it came to be one.
#[derive(Debug)]
pub(crate) struct Tiled {
    pub(crate) mapping: Mapping,
    pub(crate) plan: Plan,
    pub(crate) nest: Nest,
}

impl Tiled {
    /// By a mapping.
    pub(crate) fn by(cascade: &Cascade, mapping: &Mapping) -> Tiled {
        let plan = plan(cascade, mapping);
        let nest = tile(&plan);
        Tiled { mapping: mapping.clone(), plan, nest }
    }
}

/// The object of some kernels for a CPU, which are tiled again where that keeps more sums in registers.
pub(crate) fn emit_fitting(
    tiled: &mut [Tiled],
    cascades: &[Cascade],
    target: &Target,
    backend: Backend,
) -> Result<Vec<u8>, CodegenError> {
    let mut nests: Vec<Nest> = tiled.iter().map(|it| it.nest.clone()).collect();
    let object = codegen::emit_object(&nests, target, backend)?;
    let kept = kept(&object, &nests, target, backend)?;
    let mut alone = None;
    for (at, kept) in kept.into_iter().enumerate() {
        if tiled[at].mapping == Mapping::of(target, backend)
            && let Some((better, its_object)) = fitting(&tiled[at], kept, &cascades[at], target, backend)?
        {
            nests[at] = better.nest.clone();
            tiled[at] = better;
            alone = Some(its_object);
        }
    }
    match alone {
        None => Ok(object),
        Some(its_object) if nests.len() == 1 => Ok(its_object),
        Some(_) => codegen::emit_object(&nests, target, backend),
    }
}

/// The kernel with fewer rows in a strip, if that keeps fewer sums in memory, and an object of it alone.
fn fitting(
    it: &Tiled,
    mut least: usize,
    cascade: &Cascade,
    target: &Target,
    backend: Backend,
) -> Result<Option<(Tiled, Vec<u8>)>, CodegenError> {
    let mut best = None;
    for strip in (FEWEST_ROWS..it.mapping.defaults.strip).rev() {
        if least == 0 {
            break;
        }
        let defaults = Tiles { strip, ..it.mapping.defaults };
        let other = Tiled::by(cascade, &Mapping { defaults, ..it.mapping.clone() });
        let nests = std::slice::from_ref(&other.nest);
        let object = codegen::emit_object(nests, target, backend)?;
        let kept = kept(&object, nests, target, backend)?[0];
        if kept < least {
            (least, best) = (kept, Some((other, object)));
        }
    }
    Ok(best)
}

/// How many sums the hot loops of each kernel keep in memory that do not fit. Cranelift's tiles leave registers to spare.
fn kept(
    object: &[u8],
    nests: &[Nest],
    target: &Target,
    backend: Backend,
) -> Result<Vec<usize>, CodegenError> {
    #[cfg(feature = "llvm")]
    if backend == Backend::Llvm {
        let loops = codegen::hot_loops(object, target)?;
        let of = |nest: &Nest| {
            let stages = codegen::symbol(nest, "_stage_");
            let own = loops.iter().filter(|it| it.function.starts_with(&stages));
            own.filter(|it| !it.fits()).map(|it| it.kept).sum()
        };
        return Ok(nests.iter().map(of).collect());
    }
    let _ = (object, target, backend);
    Ok(vec![0; nests.len()])
}
