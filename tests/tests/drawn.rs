//! The kernels of the gallery that have no references: machine code against the interpreter, on drawn inputs.

use attnc::Backend;
use attnc::driver::{emulate, jit};
use attnc::ir::cascade::Cascade;
use attnc::rewrite::Walker;
use attnc::target::Gpu;
use attnc::verify::{cases, on_all_cores};
use attnc_runtime::Kernel;
use attnc_tests::fixture;
use attnc_tests::jit::{Placement, backends, call_kernel};

const PLACEMENTS: [Placement; 3] = [Placement::Dense, Placement::Padded(1), Placement::Padded(2)];

#[test]
fn machine_code_agrees_with_the_interpreter_and_what_lies_around_influences_nothing() {
    let (mut faults, mut n_kernels) = (Vec::new(), 0);
    for (name, cascades) in fixture::without() {
        for cascade in &cascades {
            n_kernels += 1;
            let faulty = backends().filter_map(|it| Some((it, check(cascade, it).err()?)));
            faults.extend(faulty.map(|(it, fault)| format!("{name} by {}: {fault}", it.name())));
        }
    }
    assert!(n_kernels > 0, "every system has fixtures");
    assert!(faults.is_empty(), "{} of {n_kernels} kernels:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn kernels_of_ptx_agree_with_the_interpreter_on_the_emulator() {
    let kernels: Vec<(String, Cascade)> = fixture::without()
        .flat_map(|(name, them)| them.into_iter().map(move |it| (name.clone(), it)))
        .collect();
    let faults = on_all_cores(&kernels, |(name, cascade)| {
        let kernel = emulate(cascade, Gpu::Sm80).map_err(|it| it.to_string());
        let fault =
            kernel.and_then(|it| check_in((&it, Walker::Block), cascade, &[Placement::Padded(2)])).err();
        fault.map(|it| format!("{name}: {it}"))
    });
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(!kernels.is_empty(), "every system has fixtures");
    assert!(faults.is_empty(), "{} of {} kernels:\n{}", faults.len(), kernels.len(), faults.join("\n"));
}

/// The first case and placement that a kernel gets wrong.
fn check(cascade: &Cascade, backend: Backend) -> Result<(), String> {
    let kernel = jit(cascade, backend).map_err(|it| it.to_string())?;
    check_in((&kernel, Walker::Thread), cascade, &PLACEMENTS)
}

fn check_in(
    (kernel, walker): (&Kernel, Walker),
    cascade: &Cascade,
    placements: &[Placement],
) -> Result<(), String> {
    let mut n_cases = 0;
    for case in cases(cascade, walker, 1) {
        let case = case.map_err(|it| it.to_string())?;
        n_cases += 1;
        for &placement in placements {
            let at = || format!("{placement:?}, {}", case.describe(cascade));
            let found = call_kernel(kernel, cascade, &case.call, placement);
            let distance = case.reference.compare(&found.map_err(|it| format!("{}: {it}", at()))?);
            if distance.of_allowed > 1.0 {
                return Err(format!("{}: {}", at(), distance.worst));
            }
        }
    }
    if n_cases == 0 { Err("its constraints allow no small extents".to_owned()) } else { Ok(()) }
}
