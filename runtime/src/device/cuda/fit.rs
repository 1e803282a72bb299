//! Whether a driver and a GPU have what a kernel takes.

use crate::manifest::KernelInfo;

/// The first version of CUDA whose drivers take PTX 8.0, which attnc writes, as drivers count.
const DRIVER: i32 = 12_000;

/// Refuses a driver that is too old.
pub(super) fn driver(version: i32) -> Result<(), String> {
    let name = |of: i32| format!("CUDA {}.{}", of / 1000, of % 1000 / 10);
    if version >= DRIVER {
        return Ok(());
    }
    Err(format!(
        "the driver of this machine is for {}, expected one for {} or later, which knows PTX 8.0: install a newer driver",
        name(version),
        name(DRIVER)
    ))
}

/// Refuses a GPU that lacks what a kernel takes; `shared` is how many bytes of shared memory a block there may have.
pub(super) fn check(
    info: &KernelInfo,
    name: &str,
    capability: (i32, i32),
    shared: u32,
) -> Result<(), String> {
    let (major, minor) = capability;
    for feature in &info.cpu_features {
        if !suits(feature, capability) {
            return Err(format!("it is for {feature}, and this GPU, {name}, is sm_{major}{minor}"));
        }
    }
    let plain = (0..).zip(info.shared.iter().copied());
    let mut all = plain.chain(info.mapped.iter().map(|it| (it.stage, it.shared)));
    if let Some((stage, bytes)) = all.find(|it| it.1 > shared) {
        return Err(format!(
            "stage {stage} takes {bytes} bytes of shared memory, and a block of this GPU, {name}, has at most {shared}: compile it with smaller tiles"
        ));
    }
    Ok(())
}

/// Whether a GPU runs what is for `sm_80`: itself and all later ones; or for `sm_90a`: only itself.
fn suits(feature: &str, (major, minor): (i32, i32)) -> bool {
    let Some(number) = feature.strip_prefix("sm_") else { return false };
    let alone = number.strip_suffix('a');
    let Ok(wanted) = alone.unwrap_or(number).parse::<i32>() else { return false };
    let found = 10 * major + minor;
    if alone.is_some() { found == wanted } else { found >= wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(feature: &str, shared: Vec<u32>) -> KernelInfo {
        let mut info: KernelInfo =
            serde_json::from_str(include_str!("../../../tests/axpy/kernel.json")).unwrap();
        info.cpu_features = vec![feature.to_owned()];
        info.shared = shared;
        info
    }

    #[test]
    fn a_gpu_runs_what_is_for_it_or_for_earlier_ones() {
        for (feature, capability, runs) in [
            ("sm_80", (8, 0), true),
            ("sm_80", (9, 0), true),
            ("sm_80", (12, 0), true),
            ("sm_80", (7, 5), false),
            ("sm_90a", (9, 0), true),
            ("sm_90a", (10, 0), false),
            ("sm_90a", (8, 9), false),
            ("avx2", (9, 0), false),
        ] {
            assert_eq!(suits(feature, capability), runs, "{feature} on {capability:?}");
        }
        let said = check(&info("sm_90a", vec![]), "a GPU", (8, 6), 99 << 10).unwrap_err();
        assert_eq!(said, "it is for sm_90a, and this GPU, a GPU, is sm_86");
    }

    #[test]
    fn more_shared_memory_than_there_is_is_refused() {
        let info = info("sm_80", vec![0, 160 << 10]);
        assert_eq!(check(&info, "one", (8, 0), 163 << 10), Ok(()));
        let said = check(&info, "another", (8, 6), 99 << 10).unwrap_err();
        assert!(said.starts_with("stage 1 takes 163840 bytes of shared memory, and a block of this GPU, another, has at most 101376"), "{said}");
    }

    #[test]
    fn an_old_driver_is_refused() {
        assert_eq!((driver(12_000), driver(13_000)), (Ok(()), Ok(())));
        let said = driver(11_040).unwrap_err();
        assert!(
            said.starts_with(
                "the driver of this machine is for CUDA 11.4, expected one for CUDA 12.0 or later"
            ),
            "{said}"
        );
    }
}
