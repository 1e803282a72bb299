//! Maps of tensors: what a copy of a box needs to know of a tensor in global memory.
//!
//! On a GPU the driver encodes one; the emulator reads [`TensorMap::to_bytes`] instead. Both are 128
//! bytes that a kernel takes by value.

use std::fmt::{self, Display, Formatter};

/// The bytes of an encoded map.
pub const TENSOR_MAP_BYTES: usize = 128;

/// A tensor in global memory, and the boxes of it that are copied at a time. Ranks are innermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// The address of the first element, a multiple of 16.
    pub address: u64,
    /// The bytes of an element: 1, 2, 4 or 8.
    pub element: u32,
    /// The extents of the tensor, one to five.
    pub shape: Vec<u64>,
    /// The bytes between neighbours of each rank but the first, multiples of 16.
    pub strides: Vec<u64>,
    /// The extents of a box, up to 256 each; its rows are a multiple of 16 bytes.
    pub extents: Vec<u32>,
    /// How rows of a box lie in shared memory.
    pub swizzle: Swizzle,
}

/// How chunks of 16 bytes change places in shared memory, so that columns of a box lie in different banks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swizzle {
    /// They do not.
    None,
    /// Within rows of 32 bytes.
    B32,
    /// Within rows of 64 bytes.
    B64,
    /// Within rows of 128 bytes.
    B128,
}

/// Why a map cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMapError(String);

impl Display for TensorMapError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TensorMapError {}

impl Swizzle {
    /// The bytes of a row; none where rows are as the box has them.
    pub fn span(self) -> Option<u32> {
        match self {
            Swizzle::None => None,
            Swizzle::B32 => Some(32),
            Swizzle::B64 => Some(64),
            Swizzle::B128 => Some(128),
        }
    }

    /// Where what would lie at an address of shared memory lies.
    pub fn place(self, address: u64) -> u64 {
        let rows = match self {
            Swizzle::None => 0,
            Swizzle::B32 => 1,
            Swizzle::B64 => 3,
            Swizzle::B128 => 7,
        };
        address ^ (((address >> 7) & rows) << 4)
    }
}

impl TensorMap {
    /// The bytes of a box.
    pub fn box_bytes(&self) -> u64 {
        self.extents.iter().map(|it| u64::from(*it)).product::<u64>() * u64::from(self.element)
    }

    /// Whether a GPU would take it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), TensorMapError> {
        let ranks = self.shape.len();
        let wrong = |why: String| Err(TensorMapError(why));
        if !(1..=5).contains(&ranks) || self.extents.len() != ranks || self.strides.len() + 1 != ranks {
            return wrong(format!(
                "a tensor has 1 to 5 ranks, each with an extent of the box, and a stride but for the first; found {ranks}, {} and {}",
                self.extents.len(),
                self.strides.len()
            ));
        }
        if !matches!(self.element, 1 | 2 | 4 | 8) {
            return wrong(format!("an element has 1, 2, 4 or 8 bytes, not {}", self.element));
        }
        if !self.address.is_multiple_of(16) || self.strides.iter().any(|it| !it.is_multiple_of(16)) {
            return wrong(format!("{:#x} and {:?} have to be multiples of 16", self.address, self.strides));
        }
        if self.shape.contains(&0) || self.extents.iter().any(|it| !(1..=256).contains(it)) {
            return wrong(format!("{:?} has to be positive, {:?} from 1 to 256", self.shape, self.extents));
        }
        let row = self.extents[0] * self.element;
        if !row.is_multiple_of(16) || self.swizzle.span().is_some_and(|span| row != span) {
            let span = self.swizzle.span().map_or("a multiple of 16".to_owned(), |span| span.to_string());
            return wrong(format!("a row of the box has {row} bytes, not {span}"));
        }
        Ok(())
    }

    /// As a kernel of the emulator takes it.
    pub fn to_bytes(&self) -> [u8; TENSOR_MAP_BYTES] {
        let mut bytes = Vec::with_capacity(TENSOR_MAP_BYTES);
        bytes.extend(self.address.to_le_bytes());
        let swizzle = match self.swizzle {
            Swizzle::None => 0,
            Swizzle::B32 => 1,
            Swizzle::B64 => 2,
            Swizzle::B128 => 3,
        };
        bytes.extend([self.element as u8, self.shape.len() as u8, swizzle, MARK]);
        let pad = |values: &[u64], count: usize| -> Vec<u8> {
            let zeros = std::iter::repeat(&0);
            values.iter().chain(zeros).take(count).flat_map(|it| it.to_le_bytes()).collect()
        };
        bytes.extend(pad(&self.shape, 5));
        bytes.extend(pad(&self.strides, 4));
        bytes.extend(self.extents.iter().flat_map(|it| it.to_le_bytes()));
        bytes.resize(TENSOR_MAP_BYTES, 0);
        bytes.try_into().expect("as many bytes as were asked for")
    }

    /// The map that bytes are, if they are one.
    pub fn from_bytes(bytes: &[u8; TENSOR_MAP_BYTES]) -> Option<TensorMap> {
        let word = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |word, it| word << 8 | u64::from(*it));
        let half = |at: usize| (word(at) & 0xffff_ffff) as u32;
        let [element, ranks, swizzle, mark] = bytes[8..12] else { return None };
        let ranks = usize::from(ranks);
        let swizzle =
            *[Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128].get(usize::from(swizzle))?;
        if mark != MARK || !(1..=5).contains(&ranks) {
            return None;
        }
        Some(TensorMap {
            address: word(0),
            element: element.into(),
            shape: (0..ranks).map(|rank| word(12 + 8 * rank)).collect(),
            strides: (0..ranks - 1).map(|rank| word(52 + 8 * rank)).collect(),
            extents: (0..ranks).map(|rank| half(84 + 4 * rank)).collect(),
            swizzle,
        })
    }
}

/// A byte that tells a map from other bytes.
const MARK: u8 = 0xa7;

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> TensorMap {
        TensorMap {
            address: 0x7f00_0000_0100,
            element: 2,
            shape: vec![64, 1000, 3, 2, 7],
            strides: vec![128, 128_000, 384_000, 768_000],
            extents: vec![64, 128, 1, 1, 2],
            swizzle: Swizzle::B128,
        }
    }

    #[test]
    fn a_map_reads_back_from_its_bytes() {
        assert_eq!(TensorMap::from_bytes(&map().to_bytes()), Some(map()));
        assert_eq!(TensorMap::from_bytes(&[0; TENSOR_MAP_BYTES]), None);
        assert_eq!(map().box_bytes(), 64 * 128 * 2 * 2);
    }

    #[test]
    fn what_a_gpu_would_not_take_is_refused() {
        let say = |map: TensorMap| map.check().expect_err("a wrong map").to_string();
        assert_eq!(map().check(), Ok(()));
        assert!(say(TensorMap { address: 8, ..map() }).contains("multiples of 16"));
        assert!(say(TensorMap { element: 3, ..map() }).contains("1, 2, 4 or 8 bytes, not 3"));
        assert!(say(TensorMap { strides: vec![], ..map() }).contains("found 5, 5 and 0"));
        assert!(say(TensorMap { extents: vec![32, 1, 1, 1, 1], ..map() }).contains("64 bytes, not 128"));
        assert!(say(TensorMap { extents: vec![64, 257, 1, 1, 1], ..map() }).contains("from 1 to 256"));
    }

    #[test]
    fn a_swizzle_moves_chunks_within_their_rows() {
        for (swizzle, span) in [(Swizzle::B32, 32), (Swizzle::B64, 64), (Swizzle::B128, 128)] {
            let mut places: Vec<u64> = (0..1024).map(|at| swizzle.place(at)).collect();
            assert!(places.iter().enumerate().all(|(at, place)| at as u64 / span == place / span));
            places.sort_unstable();
            assert_eq!(places, (0..1024).collect::<Vec<u64>>());
        }
    }
}
