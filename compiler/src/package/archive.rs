//! An object to a static library: an archive of one member, with a symbol table and without times,
//! owners or modes.

use std::io::Cursor;

use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use target_lexicon::BinaryFormat;

use super::{Error, Object};

/// The bytes of `libSTEM.a`.
pub(super) fn archive(object: &Object, stem: &str) -> Result<Vec<u8>, Error> {
    let format = object.target.binary_format;
    let kind = if format == BinaryFormat::Macho {
        ArchiveKind::Darwin
    } else if format == BinaryFormat::Coff {
        ArchiveKind::Coff
    } else {
        ArchiveKind::Gnu
    };
    let member = NewArchiveMember::new(object.bytes.as_slice(), &DEFAULT_OBJECT_READER, format!("{stem}.o"));
    let mut bytes = Cursor::new(Vec::new());
    write_archive_to_stream(&mut bytes, &[member], kind, false, None)
        .map_err(|source| Error::Archive { source })?;
    Ok(bytes.into_inner())
}
