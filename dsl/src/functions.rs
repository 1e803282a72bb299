//! The functions that a spec sees, and which of them a name means.
//!
//! That depends on where the name stands: the prelude sees only itself, imported files see each other over the prelude, and
//! the spec sees its own functions over those. So nobody's function changes what another file's function does.

use std::ops::Index;

use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::ast::{FnDef, Name};
use crate::diag::SourceId;

/// The source id of the spec.
pub(crate) const SPEC_ID: SourceId = SourceId(0);

/// The source id of the prelude.
pub(crate) const PRELUDE_ID: SourceId = SourceId(1);

/// Functions by their places, 0, 1, …, and by name.
#[derive(Debug, Clone, Default)]
pub struct Functions {
    all: IndexMap<(Layer, String), FnDef>,
}

/// Where a function comes from; a file sees its own layer and those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Layer {
    Prelude,
    Imported,
    Own,
}

impl Layer {
    fn of(source: SourceId) -> Layer {
        match source {
            SPEC_ID => Layer::Own,
            PRELUDE_ID => Layer::Prelude,
            _ => Layer::Imported,
        }
    }
}

impl Functions {
    /// Adds a function, unless its layer has one of that name, which is given.
    pub(crate) fn add(&mut self, function: &FnDef) -> Option<&FnDef> {
        let key = (Layer::of(function.span.source), function.name.text.clone());
        match self.all.entry(key) {
            Entry::Occupied(taken) => Some(taken.into_mut()),
            Entry::Vacant(free) => {
                free.insert(function.clone());
                None
            }
        }
    }

    /// The place of the function that a name means.
    pub fn place(&self, name: &Name) -> Option<usize> {
        self.seen(&name.text, name.span.source)
    }

    /// The place of the function that a name means in a file.
    pub(crate) fn seen(&self, name: &str, from: SourceId) -> Option<usize> {
        let layers = [Layer::Own, Layer::Imported, Layer::Prelude].into_iter();
        let mut seen = layers.skip_while(|it| *it > Layer::of(from));
        seen.find_map(|it| self.all.get_index_of(&(it, name.to_owned())))
    }

    /// The function that a name means.
    pub fn meant(&self, name: &Name) -> Option<&FnDef> {
        self.place(name).map(|it| &self[it])
    }

    /// All functions, by their places.
    pub fn iter(&self) -> impl Iterator<Item = &FnDef> {
        self.all.values()
    }
}

impl Index<usize> for Functions {
    type Output = FnDef;

    fn index(&self, place: usize) -> &FnDef {
        &self.all[place]
    }
}
