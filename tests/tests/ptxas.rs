//! Kernels of PTX through NVIDIA's assembler, which `./x test-ptx` fetches: no error, nothing kept in local memory, no
//! warning that products are serialised, as many products in the machine code as in the text, and as many powers beside them.

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

/// Variants of attention by the features that queries, keys and values have, in short floats with all of them and in f32 with one
/// number each, on all GPUs but those where the assembler still keeps a few registers in memory: with a sink, its 256 quotients are
/// what is too much on sm_90a.
fn variants() -> Vec<(String, Cascade, Vec<Gpu>)> {
    let own = attention::VARIANTS.iter().map(|it| (it.name.to_owned(), it.cascade(), Gpu::ALL.to_vec()));
    let usual = || attention::VARIANTS.iter().filter(|it| it.features == (64, 64) && it.dtype == "bf16");
    let with = |it: &Attention, dtype: &'static str, features: u32| {
        let gpus = match (it.name, features) {
            ("sink", 256) => vec![Gpu::Sm80],
            _ => Gpu::ALL.to_vec(),
        };
        let cascade = Attention { features: (features, features), dtype, ..*it }.cascade();
        (format!("{}, {dtype}, {features} features", it.name), cascade, gpus)
    };
    let short = usual().flat_map(|it| [128, 192, 256].map(|features| with(it, "bf16", features)));
    let single = usual().map(|it| with(it, "f32", features_of_singles(it.name)));
    own.chain(short).chain(single).collect()
}

/// How many features a variant has in f32, whose kernels are long. Sinks and sigmoids, whose weights take more registers beside
/// the sums, have some kept in memory with more.
fn features_of_singles(name: &str) -> u32 {
    match name {
        "sink" => 128,
        "softmax" | "slopes" | "sigmoid" | "documents" => 192,
        _ => 256,
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

    /// What is wrong with the machine code of a module.
    fn fault(&self, text: &str, gpu: Gpu) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|it| it.to_string())?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (ptx, cubin) = (path("a.ptx"), path("a.cubin"));
        std::fs::write(&ptx, text).map_err(|it| it.to_string())?;
        let arch = format!("-arch={}", gpu.name());
        let told = self.run("ptxas", &["-v", &arch, "-o", &cubin, &ptx])?;
        let frames = told.lines().filter(|it| it.contains("bytes stack frame"));
        let clean = |it: &&str| {
            it.trim().starts_with("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")
        };
        let (n_kernels, n_clean) = (frames.clone().count(), frames.filter(clean).count());
        if n_kernels == 0 || n_clean < n_kernels {
            return Err(format!(
                "{} of {n_kernels} kernels keep registers in memory:\n{told}",
                n_kernels - n_clean
            ));
        }
        if let Some(warning) = told.lines().find(|it| it.contains("(C75")) {
            return Err(warning.to_owned());
        }
        let code = self.run("nvdisasm", &["-c", &cubin])?;
        if let Some(line) = code.lines().find(|it| it.contains(" LDL") || it.contains(" STL")) {
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
    let all = sample.into_iter().map(|(name, it)| (name, it, Gpu::ALL.to_vec()));
    let all = all.chain(carrying::held_in_registers()).chain(variants());
    let all: Vec<_> = all.collect();
    let sample: Vec<_> = all.iter().flat_map(|it| it.2.iter().map(move |gpu| (it, gpu))).collect();
    let faults = on_all_cores(&sample, |((name, cascade, _), gpu)| {
        let module = driver::ptx(cascade, **gpu).map_err(|it| it.to_string());
        let fault = module.and_then(|it| tools.fault(&it.to_string(), **gpu)).err();
        fault.map(|it| format!("{name} on {}: {it}", gpu.name()))
    });
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    let copies = |it: &attention::Attention| {
        let text = driver::ptx(&it.cascade(), Gpu::Sm90a).expect("a module").to_string();
        text.contains("cp.async.bulk.tensor") && text.contains("_maps(")
    };
    assert!(attention::VARIANTS.iter().all(|it| copies(it) == it.is_short()), "boxes of tensors are copied");
    assert!(!sample.is_empty(), "there are no fixtures");
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
