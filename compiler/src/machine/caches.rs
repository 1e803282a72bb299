//! What the system tells of the processor: its model and its caches.

use std::fs;
use std::path::Path;

/// A cache for data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// 1 is the nearest.
    pub level: u32,
    /// How many bytes it holds.
    pub bytes: u64,
    /// Several cores share it.
    pub shared: bool,
}

/// The model of the processor; its architecture, where the system does not say.
pub fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_of(&info).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The caches of the first core, nearest first; usual ones, where the system does not say.
pub fn caches() -> Vec<Cache> {
    let found = listed(Path::new("/sys/devices/system/cpu/cpu0/cache"));
    if !found.is_empty() {
        return found;
    }
    let cache = |level, bytes, shared| Cache { level, bytes, shared };
    vec![cache(1, 32 << 10, false), cache(2, 1 << 20, false), cache(3, 16 << 20, true)]
}

/// The names of models are not unique among virtual machines, so the numbers of family and model go with them.
fn model_of(info: &str) -> Option<String> {
    let value = |key: &str| {
        let line = info.lines().find(|it| it.split(':').next().is_some_and(|it| it.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    if let Some(name) = value("model name") {
        let numbers = ["cpu family", "model", "stepping"].map(|it| value(it).unwrap_or_default());
        return Some(format!("{name}, {}", numbers.join("-")));
    }
    let arm = ["CPU implementer", "CPU part", "CPU variant"].map(value);
    arm.iter().all(Option::is_some).then(|| format!("ARM {}", arm.map(Option::unwrap_or_default).join("-")))
}

fn listed(folder: &Path) -> Vec<Cache> {
    let mut found = Vec::new();
    for number in 0..8 {
        let text = |name: &str| fs::read_to_string(folder.join(format!("index{number}/{name}"))).ok();
        let Some(kind) = text("type") else { break };
        let level = text("level").and_then(|it| it.trim().parse().ok());
        let bytes = text("size").and_then(|it| size_of(it.trim()));
        if let (Some(level), Some(bytes), true) = (level, bytes, kind.trim() != "Instruction") {
            // The last level is shared, even where a virtual machine has one core of it.
            let shared =
                level > 2 || text("shared_cpu_list").is_some_and(|it| it.trim().contains([',', '-']));
            found.push(Cache { level, bytes, shared });
        }
    }
    found.sort_by_key(|it| it.level);
    found
}

/// `48K` is 49152.
fn size_of(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_apart() {
        let intel = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Xeon\nstepping\t: 2\n";
        assert_eq!(model_of(intel).as_deref(), Some("Xeon, 6-207-2"));
        let arm = "CPU implementer\t: 0x41\nCPU variant\t: 0x1\nCPU part\t: 0xd40\n";
        assert_eq!(model_of(arm).as_deref(), Some("ARM 0x41-0xd40-0x1"));
        assert_eq!(model_of(""), None);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            ["48K", "2M", "512", "1G", ""].map(size_of),
            [Some(49_152), Some(2_097_152), Some(512), None, None]
        );
    }

    #[test]
    fn caches_are_read_nearest_first() {
        let folder = tempfile::tempdir().unwrap();
        let kinds =
            [("Data", "1", "48K", "0"), ("Instruction", "1", "32K", "0"), ("Unified", "2", "2M", "0-1")];
        for (number, (kind, level, size, cores)) in kinds.into_iter().enumerate() {
            let inside = folder.path().join(format!("index{number}"));
            fs::create_dir(&inside).unwrap();
            for (name, text) in [("type", kind), ("level", level), ("size", size), ("shared_cpu_list", cores)]
            {
                fs::write(inside.join(name), format!("{text}\n")).unwrap();
            }
        }
        let cache = |level, bytes, shared| Cache { level, bytes, shared };
        assert_eq!(listed(folder.path()), [cache(1, 48 << 10, false), cache(2, 2 << 20, true)]);
        assert!(listed(&folder.path().join("none")).is_empty());
    }
}
