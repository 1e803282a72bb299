//! Pieces of mnemonics: what stands between the dots of `fma.rn.ftz.f32`.
//!
//! A piece is an enum whose variants are words. It prints itself, reads itself back and lists its
//! variants, so [`crate::Op`] needs one line for each form of instruction to do all three.

/// A part of a mnemonic.
pub(crate) trait Piece: Sized {
    /// Appends `.word`, or nothing for the variant that is left out.
    fn print(&self, out: &mut String);
    /// Takes the longest word that `rest` starts with, or nothing where leaving out is a variant.
    fn parse(rest: &mut &str) -> Option<Self>;
    /// Every variant.
    fn all() -> Vec<Self>;
}

/// What follows `.word`, where `text` starts with it and the word ends there.
pub(crate) fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix('.')?.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with('.')).then_some(rest)
}

/// The longest of the words that `rest` starts with, by position; the empty word fits anywhere.
pub(crate) fn longest(rest: &mut &str, words: &[&str]) -> Option<usize> {
    let mut best: Option<(usize, &str)> = None;
    for (position, word) in words.iter().enumerate() {
        let left = if word.is_empty() { Some(*rest) } else { after(rest, word) };
        let Some(left) = left else { continue };
        if best.is_none_or(|(_, other)| left.len() < other.len()) {
            best = Some((position, left));
        }
    }
    let (position, left) = best?;
    *rest = left;
    Some(position)
}

/// Declares enums of words; the empty word is the variant that is left out.
macro_rules! pieces {
    ($( $(#[$doc:meta])* $name:ident { $( $variant:ident = $text:literal ),+ $(,)? } )+) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( #[doc = concat!("`", $text, "`")] $variant ),+ }

        impl $name {
            /// Every variant.
            pub const ALL: &[$name] = &[$( $name::$variant ),+];

            /// The word in PTX; empty where it is left out.
            pub fn text(self) -> &'static str {
                match self { $( $name::$variant => $text ),+ }
            }
        }

        impl $crate::piece::Piece for $name {
            fn print(&self, out: &mut String) {
                if !self.text().is_empty() {
                    out.push('.');
                    out.push_str(self.text());
                }
            }

            fn parse(rest: &mut &str) -> Option<Self> {
                Some($name::ALL[$crate::piece::longest(rest, &[$( $text ),+])?])
            }

            fn all() -> Vec<Self> {
                $name::ALL.to_vec()
            }
        }
    )+ };
}
pub(crate) use pieces;
