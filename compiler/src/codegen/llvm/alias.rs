//! Which memory is apart from which, told to LLVM with every access.
//!
//! Outputs overlap nothing and inputs are not written, which `check` sees to; so inputs, the workspace and each output
//! are apart. What lies in the workspace or in scratch may share its bytes.

use inkwell::context::Context;
use inkwell::values::{BasicMetadataValueEnum, MetadataValue};

use super::block::Emitter;
use crate::ir::nest::{BufferId, Nest, Place};

/// The parts of memory that are apart from each other.
pub(super) struct Scopes<'c> {
    /// Of each buffer, the list of the part that it is in.
    own: Vec<MetadataValue<'c>>,
    /// And the list of all other parts.
    others: Vec<MetadataValue<'c>>,
}

impl<'c> Scopes<'c> {
    pub(super) fn new(context: &'c Context, nest: &Nest) -> Scopes<'c> {
        let part = |buffer: BufferId| match nest.buffers[buffer].place {
            Place::Input(_) => "inputs".to_owned(),
            Place::Workspace(_) | Place::Scratch(_) => "workspace".to_owned(),
            Place::Output(word) => format!("output {word}"),
        };
        let parts: Vec<String> = nest.buffers.ids().map(part).collect();
        let mut apart = parts.clone();
        apart.sort();
        apart.dedup();
        let domain = context.metadata_node(&[context.metadata_string("memory").into()]);
        let scope = |name: &String| -> BasicMetadataValueEnum<'c> {
            context.metadata_node(&[context.metadata_string(name).into(), domain.into()]).into()
        };
        let list =
            |of: &mut dyn Iterator<Item = &String>| context.metadata_node(&of.map(scope).collect::<Vec<_>>());
        Scopes {
            own: parts.iter().map(|mine| list(&mut std::iter::once(mine))).collect(),
            others: parts.iter().map(|mine| list(&mut apart.iter().filter(|it| *it != mine))).collect(),
        }
    }
}

impl Emitter<'_, '_, '_> {
    /// Says of the instruction just emitted that it accesses that buffer.
    pub(super) fn tag(&self, buffer: BufferId) {
        let access = self.asm.here().get_last_instruction().expect("there is an access");
        for (kind, list) in [("alias.scope", &self.scopes.own), ("noalias", &self.scopes.others)] {
            let kind = self.asm.context.get_kind_id(kind);
            access.set_metadata(list[buffer.idx()], kind).expect("a node is metadata of an access");
        }
    }
}
