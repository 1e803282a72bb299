//! Loops that add products to sums, as functions of their own.
//!
//! Cranelift computes what is pure as late as it can: of a loop that loads factors and adds their products, all loads
//! would come first and each sum would be carried to the end before the next one is begun, so that neither sums nor
//! factors stay in registers. Such a loop therefore becomes a function, compiled as it stands: a factor is loaded just
//! before it is used, several steps are one iteration, and pointers move along. Loops that do the same share one.
//!
//! ```text
//! for n carry S: load a[m 6, n], load b[n, e 8]; S + a · b   ->   call products(a, b, strides, n, room); load S
//! ```

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I32X4, I64};
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use indexmap::IndexMap;

use attnc_dsl::ast::DType;

use super::address::Place;
use super::arith::float_const;
use super::library;
use super::memory::{load_four, load_one};
use super::tile::gather;
use crate::codegen::formula::Formula;

/// So many products in an iteration, or those of four steps, if that is less.
const PRODUCTS: usize = 64;
/// The sums are the function's own.
const ROOM: MemFlagsData = MemFlagsData::new().with_notrap();

/// What such a function does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Products {
    /// What a sum is.
    pub(super) register: Type,
    pub(super) sums: usize,
    /// Sums begin at 0; else with what lies in their room.
    pub(super) fresh: bool,
    pub(super) factors: [Factor; 2],
    /// The products of a step: which read of each factor. They go to the sums in turn.
    pub(super) products: Vec<[usize; 2]>,
    /// How far a step goes along the rank of the loop.
    pub(super) step: u32,
    /// How many addresses and how many distances are handed in.
    pub(super) bases: usize,
    pub(super) strides: usize,
}

/// One side of the products.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Factor {
    pub(super) dtype: DType,
    pub(super) reads: Vec<Read>,
    /// How far what is read lies from what the next step reads.
    pub(super) ahead: Distance,
}

/// A register of a factor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) kind: Kind,
    /// Where it lies; of lanes that lie apart, each.
    pub(super) spots: Vec<Spot>,
}

/// Where something is read in the first step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    /// Which of the addresses.
    pub(super) base: usize,
    /// Which of the distances are added, and how many times.
    pub(super) strides: Vec<(usize, i64)>,
    pub(super) offset: i32,
}

/// What is read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// An element.
    Element,
    /// An element for all lanes of a vector.
    Splat,
    /// Four neighbours.
    Vector,
    /// Four elements that lie apart.
    Apart,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Distance {
    Bytes(i32),
    /// One of the distances that are handed in.
    Stride(usize),
}

/// What is read with one pointer: of a factor, from an address on, at a distance.
type Pointer<'p> = (usize, usize, &'p [(usize, i64)]);

/// What changes from iteration to iteration.
#[derive(Debug, Clone)]
struct State {
    /// Where reads begin that are apart by what is not constant.
    pointers: Vec<Value>,
    /// How far it is to the end.
    left: Value,
    sums: Vec<Value>,
}

/// A function under construction.
struct Emitter<'p, 'f> {
    products: &'p Products,
    builder: FunctionBuilder<'f>,
    /// The pointers of each read of each factor.
    pointers_of: [Vec<Vec<usize>>; 2],
    /// The factor of each pointer.
    factor_of: Vec<usize>,
    /// For each factor that moves by what is not constant: as far as one step, two steps, and so on.
    ahead: [Vec<Value>; 2],
    fuses: bool,
}

impl Products {
    /// The types of the parameters: addresses, distances, how far it is to the end, and the room of the sums.
    pub(super) fn types(&self) -> Vec<Type> {
        vec![I64; self.bases + self.strides + 2]
    }

    /// Where a sum has its room.
    pub(super) fn offset_of(&self, sum: usize) -> i32 {
        (sum * self.register.bytes() as usize) as i32
    }

    /// How many steps are one iteration.
    fn steps(&self) -> usize {
        (PRODUCTS / self.products.len()).clamp(1, 4)
    }
}

/// Emits the body of such a function.
pub(super) fn emit<'f>(
    builder: FunctionBuilder<'f>,
    products: &Products,
    params: &[Value],
    fuses: bool,
) -> FunctionBuilder<'f> {
    let (bases, rest) = params.split_at(products.bases);
    let (strides, rest) = rest.split_at(products.strides);
    let &[left, room] = rest else { unreachable!("two parameters come last") };
    let mut emitter = Emitter {
        products,
        builder,
        pointers_of: [Vec::new(), Vec::new()],
        factor_of: Vec::new(),
        ahead: [Vec::new(), Vec::new()],
        fuses,
    };
    let pointers = emitter.pointers(bases, strides);
    for (at, factor) in products.factors.iter().enumerate() {
        if let Distance::Stride(stride) = factor.ahead {
            emitter.ahead[at] = emitter.multiples(strides[stride], products.steps());
        }
    }
    let state = State { pointers, left, sums: emitter.first_sums(room) };
    let state = emitter.iterate(state, products.steps());
    let state = if products.steps() > 1 { emitter.iterate(state, 1) } else { state };
    for (at, sum) in state.sums.into_iter().enumerate() {
        emitter.builder.ins().store(ROOM, sum, room, products.offset_of(at));
    }
    emitter.builder.ins().return_(&[]);
    emitter.builder
}

impl Emitter<'_, '_> {
    /// A pointer for all reads of a factor that are apart by constants.
    fn pointers(&mut self, bases: &[Value], strides: &[Value]) -> Vec<Value> {
        let mut pointers: IndexMap<Pointer<'_>, Value> = IndexMap::new();
        for (at, factor) in self.products.factors.iter().enumerate() {
            for read in &factor.reads {
                let of_read = read.spots.iter().map(|spot| {
                    let entry = pointers.entry((at, spot.base, &spot.strides));
                    let index = entry.index();
                    entry.or_insert_with(|| {
                        spot.strides.iter().fold(bases[spot.base], |sum, &(stride, times)| {
                            let distance = self.builder.ins().imul_imm_s(strides[stride], times);
                            self.builder.ins().iadd(sum, distance)
                        })
                    });
                    index
                });
                let of_read = of_read.collect();
                self.pointers_of[at].push(of_read);
            }
        }
        self.factor_of = pointers.keys().map(|it| it.0).collect();
        pointers.into_values().collect()
    }

    /// A distance once, twice, and so on. Of sums, because AArch64 would multiply anew wherever a product is added.
    fn multiples(&mut self, distance: Value, count: usize) -> Vec<Value> {
        let mut multiples = vec![distance];
        while multiples.len() < count {
            multiples.push(self.builder.ins().iadd(multiples[multiples.len() - 1], distance));
        }
        multiples
    }

    fn first_sums(&mut self, room: Value) -> Vec<Value> {
        let register = self.products.register;
        if self.products.fresh {
            let zero = float_const(&mut self.builder, register, 0.0);
            return vec![zero; self.products.sums];
        }
        let products = self.products;
        (0..products.sums)
            .map(|at| self.builder.ins().load(register, ROOM, room, products.offset_of(at)))
            .collect()
    }

    /// Goes on for as long as so many steps are left.
    fn iterate(&mut self, state: State, steps: usize) -> State {
        let [body, after] = [(); 2].map(|()| self.builder.create_block());
        self.jump_while(&state, steps, body, after);
        let mut inside = self.receive(body);
        let mut sums = inside.sums.clone();
        for step in 0..steps {
            self.step(&inside.pointers, &mut sums, step);
        }
        for (at, pointer) in inside.pointers.iter_mut().enumerate() {
            let factor = self.factor_of[at];
            *pointer = match self.products.factors[factor].ahead {
                Distance::Bytes(0) => *pointer,
                Distance::Bytes(bytes) => {
                    self.builder.ins().iadd_imm_s(*pointer, i64::from(bytes) * steps as i64)
                }
                Distance::Stride(_) => self.builder.ins().iadd(*pointer, self.ahead[factor][steps - 1]),
            };
        }
        let gone = self.products.step as i64 * steps as i64;
        let left = self.builder.ins().iadd_imm_s(inside.left, -gone);
        self.jump_while(&State { sums, left, ..inside }, steps, body, after);
        self.receive(after)
    }

    /// Goes to one block while so many steps are left, else to the other.
    fn jump_while(&mut self, state: &State, steps: usize, body: Block, after: Block) {
        let all = state.pointers.iter().chain([&state.left]).chain(&state.sums);
        let args: Vec<BlockArg> = all.map(|&it| it.into()).collect();
        let wanted = self.products.step as i64 * steps as i64;
        let more = self.builder.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, state.left, wanted);
        self.builder.ins().brif(more, body, &args, after, &args);
    }

    /// Begins a block with what it is handed.
    fn receive(&mut self, block: Block) -> State {
        self.builder.switch_to_block(block);
        let mut param = |ty| self.builder.append_block_param(block, ty);
        let pointers = self.factor_of.iter().map(|_| param(I64)).collect();
        let left = param(I64);
        let sums = (0..self.products.sums).map(|_| param(self.products.register)).collect();
        State { pointers, left, sums }
    }

    /// Adds the products of one step of an iteration.
    fn step(&mut self, pointers: &[Value], sums: &mut [Value], step: usize) {
        let mut known: IndexMap<(usize, usize), Value> = IndexMap::new();
        let count = sums.len();
        for (at, reads) in self.products.products.iter().enumerate() {
            let [a, b] = [0, 1].map(|factor| {
                let read = (factor, reads[factor]);
                *known.entry(read).or_insert_with(|| self.read(pointers, read, step))
            });
            // On x86-64 the first factor is overwritten, so it should be the one that is used up first.
            let is_splat = self.products.factors[0].reads[reads[0]].kind == Kind::Splat;
            let (first, second) = if is_splat { (a, b) } else { (b, a) };
            let sum = &mut sums[at % count];
            *sum = if self.fuses {
                self.builder.ins().fma(first, second, *sum)
            } else {
                let product = self.builder.ins().fmul(first, second);
                self.builder.ins().fadd(*sum, product)
            };
        }
    }

    /// A register of a factor.
    fn read(&mut self, pointers: &[Value], (factor, read): (usize, usize), step: usize) -> Value {
        let products = self.products;
        let Factor { dtype, ref reads, ahead } = products.factors[factor];
        let Read { kind, ref spots } = reads[read];
        let places = spots.iter().zip(self.pointers_of[factor][read].clone()).map(|(spot, pointer)| {
            let (address, offset) = (pointers[pointer], spot.offset);
            match ahead {
                Distance::Bytes(bytes) => Place { address, offset: offset + bytes * step as i32 },
                Distance::Stride(_) if step == 0 => Place { address, offset },
                Distance::Stride(_) => {
                    let ahead = self.ahead[factor][step - 1];
                    Place { address: self.builder.ins().iadd(address, ahead), offset }
                }
            }
        });
        let places: Vec<Place> = places.collect();
        let builder = &mut self.builder;
        let is_narrow = !matches!(dtype, DType::F64 | DType::F32);
        let vector = if is_narrow { I32X4 } else { F32X4 };
        let register = match kind {
            Kind::Element => load_one(builder, dtype, places[0]),
            Kind::Vector => load_four(builder, dtype, places[0]),
            Kind::Splat => {
                let element = load_one(builder, dtype, places[0]);
                let all = builder.ins().splat(vector, element);
                self.once(all)
            }
            Kind::Apart => {
                let lanes: Vec<Value> = places.into_iter().map(|it| load_one(builder, dtype, it)).collect();
                let all = gather(builder, vector, &lanes);
                self.once(all)
            }
        };
        if !is_narrow {
            return register;
        }
        library::emit(&mut self.builder, Formula::Decode(dtype), F32X4, &[register], self.fuses)
    }

    /// The same value, computed once: to be used several times, the load that it is made of would be apart from it.
    fn once(&mut self, value: Value) -> Value {
        let ty = self.builder.func.dfg.value_type(value);
        let after = self.builder.create_block();
        self.builder.ins().jump(after, &[value.into()]);
        self.builder.switch_to_block(after);
        self.builder.append_block_param(after, ty)
    }
}
