//! Dense tensors on the host, as the interpreters and the command line know them.

use attnc_dsl::ast::Kind;

/// A dense tensor in C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: Data,
}

/// Elements of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Reals.
    Real(Vec<f64>),
    /// Integers.
    Int(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

/// One value, a real of which is an `R`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<R = f64> {
    /// A real.
    Real(R),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

impl Data {
    /// So many zeros (or false).
    pub fn zeros(kind: Kind, len: usize) -> Data {
        match kind {
            Kind::Real => Data::Real(vec![0.0; len]),
            Kind::Int => Data::Int(vec![0; len]),
            Kind::Bool => Data::Bool(vec![false; len]),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Data::Real(_) => Kind::Real,
            Data::Int(_) => Kind::Int,
            Data::Bool(_) => Kind::Bool,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Data::Real(it) => it.len(),
            Data::Int(it) => it.len(),
            Data::Bool(it) => it.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at a position.
    pub fn get(&self, at: usize) -> Value {
        match self {
            Data::Real(it) => Value::Real(it[at]),
            Data::Int(it) => Value::Int(it[at]),
            Data::Bool(it) => Value::Bool(it[at]),
        }
    }

    /// Writes the element at a position; the value is of the data's kind.
    pub fn set(&mut self, at: usize, value: Value) {
        match (self, value) {
            (Data::Real(it), Value::Real(value)) => it[at] = value,
            (Data::Int(it), Value::Int(value)) => it[at] = value,
            (Data::Bool(it), Value::Bool(value)) => it[at] = value,
            (data, value) => unreachable!("{value:?} is not {:?}", data.kind()),
        }
    }
}

impl Array {
    /// Zeros of that shape.
    pub fn zeros(kind: Kind, shape: Vec<usize>) -> Array {
        let len = shape.iter().product();
        Array { shape, data: Data::zeros(kind, len) }
    }
}

impl<R: Copy> Value<R> {
    /// Its kind.
    pub fn kind(self) -> Kind {
        match self {
            Value::Real(_) => Kind::Real,
            Value::Int(_) => Kind::Int,
            Value::Bool(_) => Kind::Bool,
        }
    }
}
