//! Kernels of PTX through NVIDIA's assembler, which `./x test-ptx` fetches: no error, nothing kept in local memory but a few words
//! of those kernels that are listed here, no warning that products are serialised, as many products in the machine code as in the
//! text, and as many powers beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

use attnc::driver;
use attnc::ir::cascade::Cascade;
use attnc::target::Gpu;
use attnc::verify::on_all_cores;
use attnc_tests::attention::{self, Attention};
use attnc_tests::{carrying, decoding, fixture};

/// Of so many systems of the gallery one is assembled.
const EVERY: usize = 12;

/// Variants of attention, dtypes, features and GPUs for which the assembler keeps some registers in memory all the same, and the
/// most bytes that it stores. All but those of a sink with 192 features of f32, which loads four words in each turn of its loop
/// over keys, it stores beside results, once for each task.
const SPILLED: &[(&str, &str, u32, Gpu, u32)] = &[
    ("sink", "bf16", 256, Gpu::Sm90a, 32),
    ("sink", "f32", 192, Gpu::Sm90a, 84),
    ("sink", "f32", 256, Gpu::Sm90a, 16),
    ("sigmoid", "f32", 256, Gpu::Sm80, 28),
    ("sigmoid", "f32", 256, Gpu::Sm90a, 68),
];

/// A kernel for a GPU, and how many bytes of its registers may be stored in memory.
struct Kernel {
    name: String,
    cascade: Cascade,
    gpu: Gpu,
    spilled: u32,
}

impl Kernel {
    /// Of a cascade that is kept in registers, on all GPUs.
    fn kept((name, cascade): (String, Cascade)) -> impl Iterator<Item = Kernel> {
        Gpu::ALL.into_iter().map(move |gpu| {
            let (name, cascade) = (name.clone(), cascade.clone());
            Kernel { name, cascade, gpu, spilled: 0 }
        })
    }

    /// What is wrong with its machine code.
    fn fault(&self, tools: &Tools) -> Option<String> {
        let module = driver::ptx(&self.cascade, self.gpu).map_err(|it| it.to_string());
        let fault = module.and_then(|it| tools.fault(&it.to_string(), self.gpu, self.spilled)).err();
        fault.map(|it| format!("{} on {}: {it}", self.name, self.gpu.name()))
    }
}

/// Variants of attention by the features that queries, keys and values have.
fn variants() -> impl Iterator<Item = Kernel> {
    let own = attention::VARIANTS.iter().map(|it| (it.name.to_owned(), it.cascade()));
    let usual = || attention::VARIANTS.iter().filter(|it| it.features == (64, 64) && it.dtype == "bf16");
    let with = |it: &Attention, dtype: &'static str, features: u32| {
        let cascade = Attention { features: (features, features), dtype, ..*it }.cascade();
        let named = (format!("{}, {dtype}, {features} features", it.name), cascade);
        let variant = it.name;
        Kernel::kept(named).map(move |kernel| {
            let mut all = SPILLED.iter();
            let own = all.find(|it| (it.0, it.1, it.2, it.3) == (variant, dtype, features, kernel.gpu));
            Kernel { spilled: own.map_or(0, |it| it.4), ..kernel }
        })
    };
    let many = usual().flat_map(move |it| {
        let all = features(it.name).into_iter();
        all.flat_map(move |(dtype, own)| own.iter().flat_map(move |&count| with(it, dtype, count)))
    });
    own.flat_map(Kernel::kept).chain(many)
}

/// How many features a variant has in short floats and in f32: the usual number and the most that there may be, which leaves the
/// fewest registers, and more where some are kept in memory. Slopes with more of f32 are left to single threads.
fn features(name: &str) -> [(&'static str, &'static [u32]); 2] {
    match name {
        "slopes" => [("bf16", &[128, 256]), ("f32", &[128, 192])],
        "sink" => [("bf16", &[128, 192, 256]), ("f32", &[128, 192, 256])],
        _ => [("bf16", &[128, 256]), ("f32", &[128, 256])],
    }
}

/// Where the assembler and the disassembler are.
struct Tools(PathBuf);

impl Tools {
    /// What `ATTNC_PTXAS` names, which has to be there; else what was fetched, if it was.
    fn find() -> Option<Tools> {
        if let Some(named) = std::env::var_os("ATTNC_PTXAS") {
            return Some(Tools(named.into()));
        }
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ptxas/nvidia/cu13/bin");
        fetched.join("ptxas").exists().then_some(Tools(fetched))
    }

    fn run(&self, tool: &str, args: &[&str]) -> Result<String, String> {
        let ran =
            Command::new(self.0.join(tool)).args(args).output().map_err(|it| format!("{tool}: {it}"))?;
        let text = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        if ran.status.success() { Ok(text) } else { Err(format!("{tool}: {text}")) }
    }

    /// What is wrong with the machine code of a module, of whose registers so many bytes may be stored in memory.
    fn fault(&self, text: &str, gpu: Gpu, spilled: u32) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|it| it.to_string())?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (ptx, cubin) = (path("a.ptx"), path("a.cubin"));
        std::fs::write(&ptx, text).map_err(|it| it.to_string())?;
        let arch = format!("-arch={}", gpu.name());
        let told = self.run("ptxas", &["-v", &arch, "-o", &cubin, &ptx])?;
        let frames: Vec<_> = told.lines().filter(|it| it.contains("bytes stack frame")).collect();
        let stored = frames.iter().filter_map(|it| stored(it));
        let (n_read, n_stored) = stored.fold((0, 0), |(n, sum), it| (n + 1, sum + it));
        if frames.is_empty() || n_read < frames.len() {
            return Err(format!("it does not say what is kept in memory:\n{told}"));
        }
        if n_stored > spilled || (n_stored == 0) != (spilled == 0) {
            return Err(format!("{n_stored} bytes are kept in memory, and not {spilled}:\n{told}"));
        }
        if let Some(warning) = told.lines().find(|it| it.contains("(C75")) {
            return Err(warning.to_owned());
        }
        let code = self.run("nvdisasm", &["-c", &cubin])?;
        let local = |it: &&str| it.contains(" LDL") || it.contains(" STL");
        if let Some(line) = code.lines().find(local).filter(|_| spilled == 0) {
            return Err(format!("local memory: {}", line.trim()));
        }
        for (asked, made) in [
            ("mma.sync", " HMMA."),
            ("wgmma.mma_async", " HGMMA."),
            ("cp.async.bulk.tensor", " UTMALDG."),
            ("setmaxnreg", " USETMAXREG."),
        ] {
            let (n_asked, n_made) = (text.matches(asked).count(), code.matches(made).count());
            if n_asked != n_made {
                return Err(format!("{n_made}{made} for {n_asked} `{asked}`"));
            }
        }
        let asked = powers(text, ["wait_group.sync.aligned 1;", "wait_group.sync.aligned 0;", "ex2.approx"]);
        let made = powers(&code, ["DEPBAR.LE gsb0, 0x1", "DEPBAR.LE gsb0, 0x0", "MUFU.EX2"]);
        if asked != made {
            return Err(format!("{made:?} powers are taken while values are added, and not {asked:?}"));
        }
        Ok(())
    }
}

/// How many bytes of registers the assembler says to store in memory, where it has no other use for any.
fn stored(told: &str) -> Option<u32> {
    let [frame, stores, loads] = told.trim().split(", ").collect::<Vec<_>>()[..] else { return None };
    let bytes = |it: &str, what: &str| it.strip_suffix(what)?.parse::<u32>().ok();
    let (frame, stores) = (bytes(frame, " bytes stack frame")?, bytes(stores, " bytes spill stores")?);
    let loads = bytes(loads, " bytes spill loads")?;
    Some(if stores == 0 { frame.max(loads) } else { stores })
}

/// How many powers are taken in each piece of code between a wait for all products but one group and the next for all.
fn powers(code: &str, [one, all, power]: [&str; 3]) -> Vec<usize> {
    let behind = code.split_once(one).map(|(_, behind)| behind.split(one));
    let pieces = behind.into_iter().flatten().filter_map(|it| it.split(all).next());
    let mut counts: Vec<usize> = pieces.map(|it| it.matches(power).count()).collect();
    counts.sort_unstable();
    counts
}

#[test]
fn the_assembler_takes_every_kernel_and_keeps_it_in_registers() {
    let Some(tools) = Tools::find() else {
        eprintln!("SKIP: there is no ptxas; `./x test-ptx` fetches it");
        return;
    };
    let mut kernels: Vec<(String, Cascade)> = fixture::all().map(|it| (it.name, it.cascade)).collect();
    kernels.dedup_by_key(|it| it.0.split('/').next().unwrap_or_default().to_owned());
    let mut sample: Vec<(String, Cascade)> = kernels.into_iter().step_by(EVERY).collect();
    sample.extend(decoding::all());
    let held = carrying::held_in_registers().into_iter().flat_map(|(name, cascade, gpus)| {
        let named = gpus.into_iter();
        named.map(move |gpu| Kernel { name: name.clone(), cascade: cascade.clone(), gpu, spilled: 0 })
    });
    let sample: Vec<Kernel> =
        sample.into_iter().flat_map(Kernel::kept).chain(held).chain(variants()).collect();
    let faults = on_all_cores(&sample, |it| it.fault(&tools));
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    let copies = |it: &attention::Attention| {
        let text = driver::ptx(&it.cascade(), Gpu::Sm90a).expect("a module").to_string();
        text.contains("cp.async.bulk.tensor") && text.contains("_maps(")
    };
    assert!(attention::VARIANTS.iter().all(|it| copies(it) == it.is_short()), "boxes of tensors are copied");
    assert!(!sample.is_empty(), "there are no fixtures");
    let n_listed = sample.iter().filter(|it| it.spilled > 0).count();
    assert_eq!(n_listed, SPILLED.len(), "kernels are listed that are not assembled");
    assert!(faults.is_empty(), "{} of {} modules:\n{}", faults.len(), sample.len(), faults.join("\n"));
}

#[test]
fn the_assembler_takes_the_probes() {
    let Some(tools) = Tools::find() else {
        eprintln!("SKIP: there is no ptxas; `./x test-ptx` fetches it");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let cubin = folder.path().join("probe.cubin").to_string_lossy().into_owned();
    let mut n_probes = 0;
    for entry in std::fs::read_dir(fixture::repository("tests/probes")).expect("there are probes") {
        let path = entry.expect("an entry can be read").path();
        if path.extension().is_some_and(|it| it == "ptx") {
            let text = std::fs::read_to_string(&path).expect("the probe can be read");
            let gpu = Gpu::ALL.into_iter().find(|it| text.contains(&format!(".target {}\n", it.name())));
            let arch = format!("-arch={}", gpu.expect("a target that attnc knows").name());
            let told = tools.run("ptxas", &["-v", &arch, "-o", &cubin, &path.to_string_lossy()]);
            let told = told.unwrap_or_else(|it| panic!("{}: {it}", path.display()));
            assert!(!told.contains("(C75"), "{}: {told}", path.display());
            n_probes += 1;
        }
    }
    assert!(n_probes > 30, "the probes are there");
}
