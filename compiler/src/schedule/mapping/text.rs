//! Mappings as text: TOML to read and write by hand, JSON for the manifest.

use super::{Cut, Mapping, Refusal};
use crate::target::Tiles;

impl Mapping {
    /// Reads TOML; what it says nothing of is as in `defaults`.
    ///
    /// # Errors
    /// Where it is no mapping, or where a size is none.
    pub fn read(text: &str, defaults: Tiles) -> Result<Mapping, Vec<Refusal>> {
        let refused = |it: toml::de::Error| vec![Refusal::of(it.to_string().trim_end())];
        let mut mapping: Mapping = toml::from_str(text).map_err(refused)?;
        let written: toml::Table = toml::from_str(text).map_err(refused)?;
        if let Ok(mut all) = toml::Table::try_from(defaults) {
            all.extend(written.get("defaults").and_then(toml::Value::as_table).cloned().unwrap_or_default());
            mapping.defaults = all.try_into().map_err(refused)?;
        }
        mapping.defaults.words = defaults.words;
        let refusals = mapping.sizes();
        if refusals.is_empty() { Ok(mapping) } else { Err(refusals) }
    }

    /// The same as TOML, which [`Mapping::read`] reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a mapping is a table of tables of integers")
    }

    /// The same as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a mapping has text keys only")
    }
}

impl Cut {
    /// The sizes that are said, with the names that they have in text.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all =
            [("rows", self.rows), ("stream", self.stream), ("chunk", self.chunk), ("parts", self.parts)];
        all.into_iter().filter_map(|(key, size)| Some((key, size?)))
    }
}
