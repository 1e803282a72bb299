//! Tiles of integers of eight bits, for targets that multiply four of them and add the products in one instruction: four
//! neighbours along the rank that is summed over share a word.
//!
//! The instruction takes the bytes of one factor without a sign. They are held 128 more than they are, and sums begin with
//! −128 times what the other factor adds up to, which is held beside it.
//!
//! ```text
//! Q~[d, m] = f32(i8(Q))             for m in 16, d in 16: store Q~[d / 4: 4, m: 16] = pack Q[m: 16, d: 16]
//!                                   for m in 16: Q~.sums[m: 16] = -128 * Σ Q~
//! K~[d, n] = f32(i8(K))       ->    for n in 16, d in 16: store K~[d / 4: 4, n: 16] = pack K[n: 16, d: 16] ^ 0x80808080
//! S~[m, n] = sum[d](Q~ * K~)        for m in 6, n in 64: from Q~.sums on, for d / 4: dot K~[d / 4, n: 64], Q~[d / 4, m: 6]
//! ```

use std::collections::BTreeMap;

use attnc_dsl::ast::DType;

use super::bounds::einsum;
use super::builder::Known;
use super::loops::{Lane, Piece};
use super::{Lanes, Tiling};
use crate::ir::cascade::{At, Einsum, ExprId, Op as Operation, RankId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr};
use crate::ir::nest::{BufferId, Op, Scalar, TileDim, TileType, ValueId};
use crate::rewrite::most_of;
use crate::schedule::{Act, Stream, is_byte};

/// How many bytes a word has.
const BYTES: u32 = 4;
/// The sums of so many products of a byte without sign and one with fit 32 bits, and what they begin with does.
const MOST: f64 = 65_536.0;
/// Every byte of a word is 128: what is added to make bytes without sign, and what takes it away, bit by bit.
const BIAS: i64 = 0x8080_8080_u32.cast_signed() as i64;
/// Every byte of a word is 1.
const ONES: i64 = 0x0101_0101;

/// How a tile is held in words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Words {
    /// Four neighbours along this rank share a word.
    pub(super) along: RankId,
    /// Which factor of products it is.
    side: Side,
}

/// Which factor of products a tile is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    /// It has the rank along which the results lie; its bytes are held without sign.
    Lanes,
    /// It has the rows; its bytes have a sign.
    Rows,
}

impl Tiling<'_> {
    /// The tiles of a stream that are held in words.
    pub(super) fn words_of(&self, stream: &Stream) -> BTreeMap<TensorId, Words> {
        let mut sums: Vec<Einsum> = Vec::new();
        if self.plan.register.words && self.plan.register.vector > 1 {
            stream.acts.iter().for_each(|act| act.einsums(&mut |it| sums.push(it.clone())));
        }
        sums.retain(|it| self.dotted(it).is_some());
        let mut held = BTreeMap::new();
        loop {
            held.clear();
            let mut clash = None;
            for (at, sum) in sums.iter().enumerate() {
                let (along, sides) = self.dotted(sum).expect("others were left out");
                for (tensor, side) in sides {
                    let words = Words { along, side };
                    let known = *held.entry(tensor).or_insert(words);
                    if known != words || !self.fits_words(stream, tensor, along, &sums) {
                        clash = Some(at);
                    }
                }
            }
            let Some(at) = clash else { return held };
            sums.remove(at);
        }
    }

    /// What a sum of products of two tiles goes along, and which tile has which side.
    fn dotted(&self, einsum: &Einsum) -> Option<(RankId, [(TensorId, Side); 2])> {
        let exprs = &self.cascade.exprs;
        let Operation::Reduce(ReduceOp::Sum, over) = &einsum.op else { return None };
        let (&[along], Some(&At::Rank(last, 0))) = (&over[..], einsum.at.last()) else { return None };
        let (a, b) = self.tiles_multiplied(einsum.value)?;
        let has = |it: TensorId| {
            self.cascade.tensors[it].dims.iter().any(|dim| self.atoms_of(dim.rank).contains(&last))
        };
        let few = most_of(self.cascade, along).is_some_and(|it| it <= MOST);
        let single = self.widths.scalar(self.cascade, einsum.value) == Scalar::F32;
        let plain = exprs.atoms(along).len() == 1 && !self.region.tiles.contains_key(&along);
        if !(few && single && plain) {
            return None;
        }
        match (has(a), has(b)) {
            (true, false) => Some((along, [(a, Side::Lanes), (b, Side::Rows)])),
            (false, true) => Some((along, [(b, Side::Lanes), (a, Side::Rows)])),
            _ => None,
        }
    }

    /// The tiles whose product a value is, each at the point at hand.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for one form, whatever others there are")]
    fn tiles_multiplied(&self, value: ExprId) -> Option<(TensorId, TensorId)> {
        let exprs = &self.cascade.exprs;
        let tile = |it: ExprId| match exprs.get(it) {
            Expr::Read(tensor, coords, _) if self.is_tile(*tensor) => {
                let dims = &self.cascade.tensors[*tensor].dims;
                let mut own = coords.iter().zip(dims);
                own.all(|(&it, dim)| *exprs.get(it) == Expr::Index(dim.rank)).then_some(*tensor)
            }
            _ => None,
        };
        let &Expr::Binary(BinaryOp::Mul, a, b) = exprs.get(value) else { return None };
        tile(a).zip(tile(b)).filter(|(a, b)| a != b)
    }

    /// A tile is defined once, of bytes that lie along a rank, and is a factor of these sums and of nothing else.
    fn fits_words(&self, stream: &Stream, tensor: TensorId, along: RankId, sums: &[Einsum]) -> bool {
        let exprs = &self.cascade.exprs;
        let mut defines = Vec::new();
        let mut others = false;
        stream.acts.iter().for_each(|act| {
            act.einsums(&mut |it| {
                let reads = exprs.reads(it.value).any(|(read, _)| read == tensor);
                if it.tensor == tensor {
                    defines.push(it.clone());
                } else if reads && !sums.contains(it) {
                    others = true;
                }
            });
        });
        let conditions =
            crate::schedule::loops(&stream.acts).into_iter().flat_map(|it| it.matters.iter().flatten());
        others |= conditions.chain(&stream.when).any(|it| exprs.reads(*it).any(|(read, _)| read == tensor));
        let [define] = &defines[..] else { return false };
        let plain = define.at.iter().all(|it| matches!(it, At::Rank(_, 0)));
        let Some(last) = self.lies_along(tensor, along).filter(|_| plain && define.op == Operation::Map)
        else {
            return false;
        };
        // One coordinate at a time is none that words lie along.
        let several = self.region.tiles.get(&last).is_some_and(|it| *it > 1);
        let fits = is_byte(self.cascade, define.value) && self.read_along(define.value, last) == Some(along);
        !others && several && fits
    }

    /// The rank along which the words of a tile lie: the last but the one that shares them.
    fn lies_along(&self, tensor: TensorId, along: RankId) -> Option<RankId> {
        let dims = self.cascade.tensors[tensor].dims.iter().rev();
        dims.flat_map(|it| self.atoms_of(it.rank).iter().rev().copied()).find(|it| *it != along)
    }

    /// The ranks of a tile of words, major to minor: the one that shares them before the one along which they lie.
    pub(super) fn word_ranks(&self, tensor: TensorId, words: Words) -> Vec<RankId> {
        let mut ranks = self.held_ranks(tensor);
        ranks.retain(|it| *it != words.along);
        ranks.insert(ranks.len().saturating_sub(1), words.along);
        ranks
    }

    /// Acts define tiles of words and nothing else.
    pub(super) fn are_words(&self, acts: &[Act]) -> bool {
        acts.iter().all(|it| einsum(it).is_some_and(|it| self.words.contains_key(&it.tensor)))
    }

    /// How many words a tile has room for along the rank that shares them: those of whole squares.
    pub(super) fn room_for_words(&mut self, words: Words) -> ValueId {
        let square = self.plan.register.square;
        let (extent, size) = (self.extent(words.along), self.builder.int(square.into()));
        let squares = self.pieces(extent, size);
        let each = self.builder.int((square / BYTES).into());
        self.builder.binary(BinaryOp::Mul, squares, each)
    }

    /// Defines a tile that is held in words.
    pub(super) fn define_words(&mut self, einsum: &Einsum, open: &[RankId], words: Words) {
        let to = self.lies_along(einsum.tensor, words.along).expect("words lie along a rank");
        let unit_strides = self.unit_strides(einsum, words.along);
        let from = Lane { rank: words.along, unit_strides, rows: None, single: false };
        let others: Vec<RankId> = open.iter().copied().filter(|it| ![from.rank, to].contains(it)).collect();
        let across = Lane { rank: to, ..from };
        self.for_each(&others, None, &mut |it| {
            let mut begin = it.span(to).0;
            for piece in it.columns_of(across) {
                let extent = if piece == Piece::Points { 1 } else { it.plan.register.square };
                begin = it.open_piece(across, (piece, extent), begin, &[]).0;
                let columns = it.lane.take();
                match piece {
                    Piece::Points => it.words_of_points(einsum, words),
                    Piece::Tiles | Piece::Half | Piece::Rest => {
                        it.squares_of_words(einsum, (from, words), columns)
                    }
                }
                it.close_piece(&[]);
            }
        });
        if words.side == Side::Rows {
            let lane = Lane { rank: to, unit_strides: None, rows: None, single: false };
            let open: Vec<RankId> = others.into_iter().chain([to]).collect();
            self.for_each(&open, Some(lane), &mut |it| it.sum_words(einsum.tensor, words));
        }
    }

    /// Squares at some coordinates along the rank that words lie along, read along the other.
    fn squares_of_words(&mut self, einsum: &Einsum, (from, words): (Lane, Words), columns: Option<Lanes>) {
        let mut begin = self.span(from.rank).0;
        for piece in self.pieces_of(from).into_iter().filter(|it| *it != Piece::Points) {
            begin = self.open_piece(from, (piece, self.plan.register.square), begin, &[]).0;
            self.rows = columns;
            let known = self.value(einsum.value);
            let read = self.lane.expect("a square is open");
            let there = self.builder.both(known.present, read.mask);
            let square: Vec<TileDim> = self.rows.iter().chain(&self.lane).map(|it| it.dim).collect();
            (self.lane, self.rows) = (self.rows, self.lane);
            self.builder.minor = self.lane.map(|it| it.dim.rank);
            let dim = TileDim { extent: read.dim.extent / BYTES, ..read.dim };
            let word = self.builder.iota(dim);
            let first = self.word_of(read.first);
            let word = self.sum(first, word);
            self.store_words(einsum.tensor, (known.value, there), (&square, word), words);
            self.rows = None;
            self.close_piece(&[]);
        }
    }

    /// Words at the point at hand, read byte by byte, where neighbours are apart in memory.
    fn words_of_points(&mut self, einsum: &Einsum, words: Words) {
        let (begin, end) = self.span(words.along);
        let dim = TileDim { rank: words.along, extent: BYTES };
        let last = self.plus(end, i64::from(BYTES) - 1);
        let (first, _) = self.builder.open_loop(dim.rank, (begin, last, BYTES), &[]);
        let iota = self.builder.iota(dim);
        let indices = self.sum(first, iota);
        self.bind(dim.rank, indices);
        self.bind_offset(dim.rank, indices);
        let mask = self.builder.compare(attnc_dsl::ast::CompareOp::Lt, indices, end);
        // It is no lane, for its points are apart, but what lies beyond is not read either.
        self.rows = Some(Lanes {
            dim,
            first,
            indices,
            offsets: indices,
            shifted: indices,
            mask: Some(mask),
            reduced: false,
        });
        let known = self.value(einsum.value);
        self.rows = None;
        let there = self.builder.both(known.present, Some(mask));
        let one = TileDim { extent: 1, ..dim };
        let (first, iota) = (self.word_of(first), self.builder.iota(one));
        let word = self.sum(first, iota);
        self.store_words(einsum.tensor, (known.value, there), (&[dim], word), words);
        self.builder.close_loop(&[]);
    }

    /// Packs a tile of bytes whose last rank shares words, and writes it at these of them.
    fn store_words(
        &mut self,
        tensor: TensorId,
        (value, there): (ValueId, Option<ValueId>),
        (shape, word): (&[TileDim], ValueId),
        words: Words,
    ) {
        let b = &mut self.builder;
        let zero = b.real(0.0, Scalar::F32);
        let value = b.convert(value, Scalar::F32);
        // What is not there adds nothing.
        let value = there.map_or(value, |there| b.select(there, value, zero));
        let bytes = b.spread(value, shape);
        let last = b.nest.values[word].shape[0];
        let packed: Vec<TileDim> = shape[..shape.len() - 1].iter().copied().chain([last]).collect();
        let mut value =
            b.emit(Op::Pack(bytes), TileType { scalar: Scalar::I32, shape: packed.clone() }, &[bytes]);
        if words.side == Side::Lanes {
            let bias = b.filled(Op::Int(BIAS), Scalar::I32, &[]);
            value = b.emit(
                Op::Binary(BinaryOp::BitXor, value, bias),
                TileType { scalar: Scalar::I32, shape: packed.clone() },
                &[value, bias],
            );
        }
        let turned: Vec<TileDim> = packed.iter().rev().copied().collect();
        let value = b.in_order(value, &turned);
        let buffer = self.buffer(tensor);
        let index = self.word_coordinates(tensor, words, word);
        let contiguous = self.is_contiguous(buffer, &index);
        let within = self.within_tile(&index, None);
        self.builder.store(buffer, index, value, within, contiguous);
    }

    /// Where a tile of words has that word at the indices that are bound.
    fn word_coordinates(&mut self, tensor: TensorId, words: Words, word: ValueId) -> Vec<ValueId> {
        let ranks = self.word_ranks(tensor, words).into_iter();
        ranks.map(|it| if it == words.along { word } else { self.offset_of(tensor, it) }).collect()
    }

    /// The word that has a byte.
    fn word_of(&mut self, byte: ValueId) -> ValueId {
        let size = self.builder.int(BYTES.into());
        self.builder.binary(BinaryOp::FloorDiv, byte, size)
    }

    /// The words of a tile at the indices that are bound, one after the other, each added to what the body makes of those
    /// before.
    fn over_words(
        &mut self,
        words: Words,
        init: ValueId,
        body: impl FnOnce(&mut Self, ValueId, ValueId) -> ValueId,
    ) -> ValueId {
        let (extent, size) = (self.extent(words.along), self.builder.int(BYTES.into()));
        let (zero, count) = (self.builder.int(0), self.pieces(extent, size));
        let (word, sums) = self.builder.open_loop(words.along, (zero, count, 1), &[init]);
        let next = body(self, word, sums[0]);
        self.builder.close_loop(&[next])[0]
    }

    fn load_word(&mut self, tensor: TensorId, words: Words, word: ValueId) -> ValueId {
        let buffer = self.buffer(tensor);
        let index = self.word_coordinates(tensor, words, word);
        self.load_i32(buffer, index)
    }

    fn load_i32(&mut self, buffer: BufferId, index: Vec<ValueId>) -> ValueId {
        let contiguous = self.is_contiguous(buffer, &index);
        let within = self.within_tile(&index, None);
        self.builder.load_as(Scalar::I32, buffer, index, within, contiguous)
    }

    /// What sums of products with a tile begin with.
    fn sum_words(&mut self, tensor: TensorId, words: Words) {
        let shape: Vec<TileDim> = self.lane.iter().map(|it| it.dim).collect();
        let ty = TileType { scalar: Scalar::I32, shape };
        let init = self.builder.filled(Op::Int(0), Scalar::I32, &ty.shape);
        let sum = self.over_words(words, init, |it, word, sum| {
            let b = it.load_word(tensor, words, word);
            let a = it.builder.filled(Op::Int(ONES), Scalar::I32, &[]);
            it.builder.emit(Op::Dot { a, b, into: sum }, ty.clone(), &[a, b, sum])
        });
        let factor = self.builder.filled(Op::Int(-128), Scalar::I32, &[]);
        let value = self.builder.binary(BinaryOp::Mul, sum, factor);
        let (buffer, index) = (self.sums_of(tensor, words), self.coordinates_without(tensor, &[words.along]));
        let contiguous = self.is_contiguous(buffer, &index);
        let within = self.within_tile(&index, None);
        self.builder.store(buffer, index, value, within, contiguous);
    }

    /// Where a tile of words has what sums begin with, made if it is not there yet.
    fn sums_of(&mut self, tensor: TensorId, words: Words) -> BufferId {
        if let Some(&known) = self.word_sums.get(&tensor) {
            return known;
        }
        let name = format!("{}.sums", self.cascade.tensors[tensor].name);
        let buffer = self.tile_without(tensor, &[words.along], (name, DType::I32));
        self.word_sums.insert(tensor, buffer);
        buffer
    }

    /// A sum of products of tiles that are held in words, for the tile at hand.
    pub(super) fn sum_of_words(&mut self, op: ReduceOp, over: &[RankId], value: ExprId) -> Option<Known> {
        let (first, second) = self.tiles_multiplied(value).filter(|_| op == ReduceOp::Sum)?;
        let [one, other] = [first, second].map(|it| self.words.get(&it).copied());
        let (one, other) = (one?, other?);
        assert_eq!(over, [one.along], "words are summed along the rank that shares them");
        let [(a, of_a), (b, of_b)] = match one.side {
            Side::Lanes => [(first, one), (second, other)],
            Side::Rows => [(second, other), (first, one)],
        };
        let shape: Vec<TileDim> = self.rows.iter().chain(&self.lane).map(|it| it.dim).collect();
        let (buffer, index) = (self.sums_of(b, of_b), self.coordinates_without(b, &[of_b.along]));
        let init = self.load_i32(buffer, index);
        let init = self.builder.spread(init, &shape);
        let ty = TileType { scalar: Scalar::I32, shape };
        let sum = self.over_words(of_a, init, |it, word, into| {
            let [a, b] = [it.load_word(a, of_a, word), it.load_word(b, of_b, word)];
            it.builder.emit(Op::Dot { a, b, into }, ty.clone(), &[a, b, into])
        });
        Some(Known { value: self.builder.convert(sum, Scalar::F32), present: None })
    }

    fn atoms_of(&self, rank: RankId) -> &[RankId] {
        self.cascade.exprs.atoms(rank)
    }
}
