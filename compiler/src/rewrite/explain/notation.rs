//! Terms as a mathematician writes them.
//!
//! ```text
//! Else(Reduce(Sum, [n], Product(Exp(S), V)), 0)     Σₙ exp(S)·V else 0
//! ```
//!
//! What the spec has a name for goes by it, and what is long gets one: `x₁`, `x₂`, …

use std::collections::{BTreeMap, HashMap};

use super::Notebook;
use crate::ir::cascade::{Cascade, RankId, ReduceOp, Role, TensorId};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::rewrite::term::{Class, Term};
use attnc_dsl::ast::CompareOp;

/// How long a subterm may be that is written out.
const LONG: usize = 48;

/// How terms are written, with the names that were given on the way.
pub(super) struct Notation {
    cascade: Cascade,
    /// The tensors as written, by their terms.
    tensors: HashMap<Class, TensorId>,
    texts: HashMap<Class, Text>,
    /// What is long, in the order in which it was named.
    named: Vec<(String, String)>,
}

/// A term in words, and how tightly its outermost operation binds.
#[derive(Clone)]
struct Text {
    text: String,
    binds: Binds,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binds {
    /// `x else y`, `x where p`, conditions.
    Loose,
    /// `Σₙ x`.
    Reduction,
    Sum,
    Product,
    Power,
    Atom,
}

impl Notation {
    pub(super) fn new(notebook: &Notebook) -> Notation {
        let cascade = notebook.graph.analysis.cascade.clone();
        let sorted: BTreeMap<TensorId, Class> = notebook.tensors.iter().map(|(&a, &b)| (a, b)).collect();
        let mut tensors = HashMap::new();
        for (tensor, class) in sorted {
            let speaks = cascade.tensors[tensor].role != Role::Output;
            if speaks && !notebook.term(class).is_plain() {
                tensors.entry(class).or_insert(tensor);
            }
        }
        Notation { cascade, tensors, texts: HashMap::new(), named: Vec::new() }
    }

    /// Names that were given to subterms, and what they stand for.
    pub(super) fn named(self) -> Vec<(String, String)> {
        self.named
    }

    /// A term, written out even if it has a name.
    pub(super) fn show(&mut self, notebook: &Notebook, class: Class) -> String {
        self.written(notebook, class).text
    }

    /// A term by its name, if it has one.
    pub(super) fn operand_text(&mut self, notebook: &Notebook, class: Class) -> String {
        self.text(notebook, class).text
    }

    /// An operand: by its name, if it has one, and with parentheses if the operation around it binds as tightly.
    fn operand(&mut self, notebook: &Notebook, class: Class, around: Binds) -> String {
        let Text { text, binds } = self.text(notebook, class);
        if binds > around { text } else { format!("({text})") }
    }

    fn text(&mut self, notebook: &Notebook, class: Class) -> Text {
        if let Some(known) = self.texts.get(&class) {
            return known.clone();
        }
        let text = match self.tensors.get(&class) {
            Some(&tensor) => atom(self.cascade.tensors[tensor].name.clone()),
            None => {
                let text = self.written(notebook, class);
                if text.text.chars().count() > LONG { self.name(text.text) } else { text }
            }
        };
        self.texts.insert(class, text.clone());
        text
    }

    fn name(&mut self, text: String) -> Text {
        let name = format!("x{}", subscript(&(self.named.len() + 1).to_string()));
        self.named.push((name.clone(), text));
        atom(name)
    }

    fn written(&mut self, notebook: &Notebook, class: Class) -> Text {
        let term = notebook.term(class).clone();
        match &term {
            Term::Int(value) => atom(value.to_string()),
            Term::Real(bits) => number(f64::from_bits(*bits)),
            Term::Bool(value) => atom(value.to_string()),
            Term::Extent(rank) => atom(format!("|{}|", self.rank(*rank))),
            Term::Index(rank) => atom(self.rank(*rank)),
            Term::Param(param, _) => atom(self.cascade.params[*param].name.clone()),
            Term::Written(tensor) => atom(self.cascade.tensors[*tensor].name.clone()),
            Term::Read(tensor, _, operands) => self.point(notebook, *tensor, &operands[1..]),
            Term::Input(tensor, _, coordinates) => self.point(notebook, *tensor, coordinates),
            Term::Unary(UnaryOp::ToReal, [a]) => self.text(notebook, *a),
            Term::Unary(op, [a]) => self.call(notebook, op.name(), &[*a]),
            Term::Binary(op, both) => self.binary(notebook, *op, both),
            Term::Compare(op, both) => self.infix(notebook, both, comparison(*op), Binds::Loose),
            Term::Cast(dtype, [a]) => self.call(notebook, dtype.name(), &[*a]),
            Term::If([condition, a, b]) => {
                let [c, a, b] = [*condition, *a, *b].map(|it| self.operand(notebook, it, Binds::Loose));
                Text { text: format!("if {c} then {a} else {b}"), binds: Binds::Loose }
            }
            Term::Where(both) => self.infix(notebook, both, "where", Binds::Loose),
            Term::Else(both) => self.infix(notebook, both, "else", Binds::Loose),
            Term::Present([a]) => self.call(notebook, "present", &[*a]),
            Term::Pick(all) => self.call(notebook, "pick", all),
            Term::Sum(terms) => self.sum(notebook, terms),
            Term::Product(factors) => self.product(notebook, factors),
            Term::Power(bits, [base]) => self.power(notebook, *base, f64::from_bits(*bits)),
            Term::Reduce(op, ranks, [body]) => {
                let ranks = ranks.iter().map(|it| self.rank(*it)).collect::<Vec<_>>().join(",");
                let body = self.operand(notebook, *body, Binds::Sum);
                Text { text: format!("{}{} {body}", reduction(*op), below(&ranks)), binds: Binds::Reduction }
            }
            Term::Union(op, all) => {
                let name = format!("{} of the present", reduction(*op));
                self.call(notebook, &name, all)
            }
        }
    }

    fn rank(&self, rank: RankId) -> String {
        self.cascade.ranks[rank].name.clone()
    }

    /// Coordinates are said where they are not the tensor's own.
    fn point(&mut self, notebook: &Notebook, tensor: TensorId, coordinates: &[Class]) -> Text {
        let it = self.cascade.tensors[tensor].clone();
        let own = it.dims.iter().zip(coordinates);
        let own = own.into_iter().all(|(dim, &at)| *notebook.term(at) == Term::Index(dim.rank));
        if own {
            return atom(it.name);
        }
        let coordinates = coordinates.iter().map(|&at| self.text(notebook, at).text);
        atom(format!("{}[{}]", it.name, coordinates.collect::<Vec<_>>().join(", ")))
    }

    fn call(&mut self, notebook: &Notebook, name: &str, arguments: &[Class]) -> Text {
        let arguments = arguments.iter().map(|&it| self.text(notebook, it).text).collect::<Vec<_>>();
        atom(format!("{name}({})", arguments.join(", ")))
    }

    fn infix(&mut self, notebook: &Notebook, both: &[Class; 2], between: &str, binds: Binds) -> Text {
        let [a, b] = both.map(|it| self.operand(notebook, it, binds));
        Text { text: format!("{a} {between} {b}"), binds }
    }

    fn binary(&mut self, notebook: &Notebook, op: BinaryOp, both: &[Class; 2]) -> Text {
        match op {
            BinaryOp::Add => self.infix(notebook, both, "+", Binds::Sum),
            BinaryOp::Sub => self.infix(notebook, both, "−", Binds::Sum),
            BinaryOp::Mul => self.infix(notebook, both, "·", Binds::Product),
            BinaryOp::And => self.infix(notebook, both, "and", Binds::Loose),
            BinaryOp::Or => self.infix(notebook, both, "or", Binds::Loose),
            BinaryOp::Min | BinaryOp::Max => self.call(notebook, op.name(), both),
            BinaryOp::Div
            | BinaryOp::FloorDiv
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::BitAnd
            | BinaryOp::BitOr
            | BinaryOp::BitXor
            | BinaryOp::Shl
            | BinaryOp::Shr => self.infix(notebook, both, op.name(), Binds::Product),
        }
    }

    fn sum(&mut self, notebook: &Notebook, terms: &[Class]) -> Text {
        let mut text = String::new();
        for &it in terms {
            let term = self.operand(notebook, it, Binds::Reduction);
            match term.strip_prefix('−') {
                Some(positive) if !text.is_empty() => text += &format!(" − {positive}"),
                None if !text.is_empty() => text += &format!(" + {term}"),
                Some(_) | None => text += &term,
            }
        }
        Text { text, binds: Binds::Sum }
    }

    /// Powers with negative exponents below a stroke, a factor of −1 as a sign.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn product(&mut self, notebook: &Notebook, factors: &[Class]) -> Text {
        let (mut above, mut below, mut sign) = (Vec::new(), Vec::new(), "");
        for &it in factors {
            match *notebook.term(it) {
                Term::Real(bits) if f64::from_bits(bits) == -1.0 && sign.is_empty() => sign = "−",
                Term::Power(bits, [base]) if f64::from_bits(bits) < 0.0 => {
                    below.push(self.raised(notebook, base, -f64::from_bits(bits)));
                }
                _ => above.push(self.operand(notebook, it, Binds::Sum)),
            }
        }
        let mut text = if above.is_empty() { "1".to_owned() } else { above.join("·") };
        for divisor in below {
            text += &format!(" / {divisor}");
        }
        let binds = if sign.is_empty() { Binds::Product } else { Binds::Sum };
        Text { text: format!("{sign}{text}"), binds }
    }

    fn power(&mut self, notebook: &Notebook, base: Class, exponent: f64) -> Text {
        let text = self.raised(notebook, base, exponent.abs());
        match exponent < 0.0 {
            true => Text { text: format!("1 / {text}"), binds: Binds::Product },
            false => Text { text, binds: Binds::Power },
        }
    }

    fn raised(&mut self, notebook: &Notebook, base: Class, exponent: f64) -> String {
        if exponent == 0.5 {
            return format!("√({})", self.text(notebook, base).text);
        }
        let base = self.operand(notebook, base, Binds::Product);
        match exponent {
            1.0 => base,
            2.0 => format!("{base}²"),
            3.0 => format!("{base}³"),
            other => format!("{base}^{other}"),
        }
    }
}

fn atom(text: String) -> Text {
    Text { text, binds: Binds::Atom }
}

fn number(value: f64) -> Text {
    let text = match value {
        f64::INFINITY => "∞".to_owned(),
        f64::NEG_INFINITY => "−∞".to_owned(),
        other if other < 0.0 => format!("−{}", -other),
        other => other.to_string(),
    };
    let binds = if value < 0.0 { Binds::Sum } else { Binds::Atom };
    Text { text, binds }
}

fn reduction(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "Σ",
        ReduceOp::Prod => "Π",
        ReduceOp::Max | ReduceOp::Min | ReduceOp::Mean | ReduceOp::Any | ReduceOp::All | ReduceOp::Count => {
            op.name()
        }
    }
}

fn comparison(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "=",
        CompareOp::Ne => "≠",
        CompareOp::Lt => "<",
        CompareOp::Le => "≤",
        CompareOp::Gt => ">",
        CompareOp::Ge => "≥",
    }
}

/// Below the line, if there are signs for all of it.
fn below(ranks: &str) -> String {
    let small = subscript(ranks);
    if small.chars().any(|it| it.is_ascii()) { format!("_{{{ranks}}}") } else { small }
}

fn subscript(text: &str) -> String {
    const SMALL: [(char, char); 27] = [
        ('0', '₀'),
        ('1', '₁'),
        ('2', '₂'),
        ('3', '₃'),
        ('4', '₄'),
        ('5', '₅'),
        ('6', '₆'),
        ('7', '₇'),
        ('8', '₈'),
        ('9', '₉'),
        ('a', 'ₐ'),
        ('e', 'ₑ'),
        ('h', 'ₕ'),
        ('i', 'ᵢ'),
        ('j', 'ⱼ'),
        ('k', 'ₖ'),
        ('l', 'ₗ'),
        ('m', 'ₘ'),
        ('n', 'ₙ'),
        ('o', 'ₒ'),
        ('p', 'ₚ'),
        ('r', 'ᵣ'),
        ('s', 'ₛ'),
        ('t', 'ₜ'),
        ('u', 'ᵤ'),
        ('v', 'ᵥ'),
        ('x', 'ₓ'),
    ];
    let small = |it| SMALL.iter().find(|(large, _)| *large == it).map_or(it, |(_, small)| *small);
    text.chars().map(small).collect()
}
