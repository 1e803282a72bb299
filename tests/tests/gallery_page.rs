//! The headers of the gallery state what the analysis counts, and `docs/gallery.md` is what the gallery is.
//!
//! `ATTNC_BLESS=1 cargo test -p attnc-tests --test gallery_page` writes both.

use std::collections::BTreeMap;
use std::path::Path;

use attnc_tests::fixture::{self, repository};
use attnc_tests::page::{Counts, System, page, specs, system};
use attnc_tests::picture::picture;

#[test]
fn headers_and_page_are_what_the_gallery_is() {
    let bless = std::env::var_os("ATTNC_BLESS").is_some();
    let (mut faults, mut systems) = (Vec::new(), Vec::new());
    for path in specs() {
        match checked(&path, bless) {
            Ok(it) => systems.push(it),
            Err(fault) => faults.push(format!("{} {fault}", path.display())),
        }
    }
    let (drawings, pictures) = pictures(&systems);
    let mut files: BTreeMap<String, String> =
        drawings.into_iter().map(|(name, svg)| (format!("docs/gallery/{name}.svg"), svg)).collect();
    files.insert("docs/gallery.md".to_owned(), page(&systems, &pictures));
    for (name, text) in &files {
        let path = repository(name);
        if bless {
            write(&path, text);
        } else if std::fs::read_to_string(&path).ok().as_ref() != Some(text) {
            faults.push(format!("{name} is not what the gallery is"));
        }
    }
    for entry in std::fs::read_dir(repository("docs/gallery")).into_iter().flatten() {
        let path = entry.expect("an entry can be read").path();
        let name = format!("docs/gallery/{}", path.file_name().expect("a file has a name").to_string_lossy());
        match (files.contains_key(&name), bless) {
            (true, _) => {}
            (false, true) => std::fs::remove_file(&path).expect("a picture can be removed"),
            (false, false) => faults.push(format!("{name} is a picture of nothing")),
        }
    }
    assert!(faults.is_empty(), "run with ATTNC_BLESS=1:\n{}", faults.join("\n"));
    assert!(systems.len() > 300, "the gallery is there");
}

/// A system whose header states what the analysis counts, or is made to.
fn checked(path: &Path, bless: bool) -> Result<System, String> {
    let text = std::fs::read_to_string(path).expect("the spec can be read");
    let line = text.lines().find(|it| it.starts_with("#! Passes over ")).ok_or("states no passes")?;
    let rank = line.split('`').nth(1).ok_or_else(|| format!("names no rank: {line}"))?;
    let found = system(path, rank);
    let Counts { written, bound, .. } = found.passes;
    let head = format!("{}: ", line.split(": ").next().unwrap_or(line));
    let stated =
        line[head.len()..].chars().take_while(|it| "0123456789 ->".contains(*it)).collect::<String>();
    let (stated, right) = (stated.trim_end(), format!("{written} -> {bound}"));
    if stated != right {
        if !bless {
            return Err(format!("states {stated} over `{rank}`, and it is {right}"));
        }
        let new = line.replacen(&format!("{head}{stated}"), &format!("{head}{right}"), 1);
        std::fs::write(path, text.replacen(line, &new, 1)).expect("the spec can be written");
    }
    Ok(found)
}

/// Each distinct picture under the name of the first system that has it, and the picture of each system.
fn pictures(systems: &[System]) -> (BTreeMap<String, String>, Vec<(String, String)>) {
    let ranks: BTreeMap<&str, &str> =
        systems.iter().map(|it| (it.name.as_str(), it.passes.rank.as_str())).collect();
    let (mut drawings, mut by_drawing) = (BTreeMap::new(), BTreeMap::<String, String>::new());
    let mut pictures = Vec::new();
    for case in fixture::all() {
        let Some((name, "0")) = case.name.split_once('/') else { continue };
        let Some(svg) = ranks.get(name).and_then(|key| picture(&case.cascade, &case.call, key)) else {
            continue;
        };
        let drawing = by_drawing.entry(svg.clone()).or_insert_with(|| name.to_owned()).clone();
        drawings.insert(drawing.clone(), svg);
        pictures.push((name.to_owned(), drawing));
    }
    (drawings, pictures)
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a page lies in a folder")).expect("a folder can be made");
    std::fs::write(path, text).expect("the page can be written");
}
